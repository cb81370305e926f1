import type { Dialect, HeaderFields, LimitSignal } from '../dialects/dialect.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import type { AccessRecord } from './access-log.js';
import { decodePrefix } from './body-decoder.js';

/** What an answer that is not a success says before its body. */
export interface AnswerHead {
  readonly status: number;
  readonly fields: HeaderFields;
  readonly statements: readonly LimitSignal[];
}

export interface JudgeOptions {
  readonly dialect: Dialect;
  readonly governor: Governor;
  readonly admission: Admission;
  readonly record: AccessRecord | null;
  /** Epoch ms. */
  readonly now: () => number;
  /** The start of the body, once there is enough of it to judge by. */
  readonly readStart: () => Promise<Buffer>;
}

/**
 * Tells the governor whether the answer refuses, and how. Null: it does not, whatever its body says.
 * A promise: the client must not see the answer before it resolves, for a client that knows of a 429
 * may come back before the cooldown is durable.
 */
export function judge(head: AnswerHead, options: JudgeOptions): Promise<void> | null {
  const { dialect, governor, admission, record, now, readStart } = options;
  const { status, fields, statements } = head;
  if (!dialect.mayRefuse(status)) return null;
  const reading = readStart().then((bytes) => {
    const body = decodePrefix(fields.get('content-encoding'), bytes);
    const refusal = dialect.readRefusal(status, fields, body, now());
    record?.stated(refusal?.statedWaitMs ?? null);
    return refusal;
  });
  // Only a 429 is sure to concern everyone; others hold nobody up while their body is read.
  if (status === 429) {
    const refused = reading.then((refusal) =>
      refusal === null || refusal.kind === 'overload'
        ? null
        : { ...refusal, kind: refusal.kind, status, statements },
    );
    return governor.refused(admission, refused);
  }
  return reading.then((refusal) => {
    if (refusal === null) return;
    const { kind } = refusal;
    if (kind === 'overload') return governor.overloaded(admission, refusal.statedWaitMs);
    const refused = { ...refusal, kind, status, statements };
    return governor.refused(admission, Promise.resolve(refused));
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
