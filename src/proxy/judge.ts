import type { Dialect, HeaderFields, LimitSignal } from '../dialects/dialect.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import type { AccessRecord } from './access-log.js';

/** An answer that is not a success. */
export interface JudgedAnswer {
  readonly status: number;
  readonly fields: HeaderFields;
  readonly statements: readonly LimitSignal[];
  /** The start of the body, once there is enough of it to judge by. */
  readonly readStart: () => Promise<string>;
  readonly dialect: Dialect;
  readonly governor: Governor;
  readonly admission: Admission;
  readonly record: AccessRecord | null;
  /** Epoch ms. */
  readonly now: () => number;
}

/**
 * Tells the governor whether the answer refuses, and how. Null: it does not, whatever its body says.
 * A promise: the client must not see the answer before it resolves, for a client that knows of a 429
 * may come back before the cooldown is durable.
 */
export function judge(answer: JudgedAnswer): Promise<void> | null {
  const { status, fields, statements, readStart } = answer;
  const { dialect, governor, admission, record, now } = answer;
  if (!dialect.mayRefuse(status)) return null;
  const reading = readStart().then((body) => {
    const refusal = dialect.readRefusal(status, fields, body, now());
    record?.stated(refusal?.statedWaitMs ?? null);
    return refusal;
  });
  const refused = reading.then((refusal) =>
    refusal === null || refusal.kind === 'overload'
      ? null
      : { ...refusal, kind: refusal.kind, status, statements },
  );
  // Only a 429 is sure to concern everyone; others hold nobody up while their body is read.
  if (status === 429) return governor.refused(admission, refused);
  return reading.then((refusal) => {
    if (refusal === null) return;
    if (refusal.kind !== 'overload') return governor.refused(admission, refused);
    return governor.overloaded(admission, refusal.statedWaitMs);
  });
}

/** A refusal in the middle of a stream says nothing about itself. */
export const BARE_REFUSAL = {
  status: 429,
  kind: 'unknown',
  statedWaitMs: null,
  limits: [],
  statements: [],
} as const;
