import type { Dialect, HeaderFields, LimitSignal, StreamFailure } from '../dialects/dialect.js';
import { headerFields } from '../dialects/header-fields.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import type { AccessRecord } from './access-log.js';

/** What judges an answer, and who hears of it. */
interface Judging {
  readonly dialect: Dialect;
  readonly governor: Governor;
  readonly admission: Admission;
  readonly record: AccessRecord | null;
  /** Epoch ms. */
  readonly now: () => number;
}

/** An answer that is not a success. */
export interface JudgedAnswer extends Judging {
  readonly status: number;
  readonly fields: HeaderFields;
  readonly statements: readonly LimitSignal[];
  /** The start of the body, once there is enough of it to judge by. */
  readonly readStart: () => Promise<string>;
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

/** The head of such an answer was that of a success, and says nothing of the refusal. */
const NO_FIELDS = headerFields({});

/**
 * An answer of status 200 that turned into a refusal on the way tells what it would have told at its
 * start. At once, for its settlement may follow in this turn, and nobody waits for it.
 */
export function judgeFailure(
  { status, body }: StreamFailure,
  { dialect, governor, admission, record, now }: Judging,
): void {
  const refusal = dialect.readRefusal(status, NO_FIELDS, body, now());
  if (refusal === null) return;
  record?.stated(refusal.statedWaitMs);
  const { kind } = refusal;
  if (kind === 'overload') void governor.overloaded(admission, refusal.statedWaitMs);
  else {
    const refused = { ...refusal, kind, status, statements: [] };
    void governor.refused(admission, Promise.resolve(refused));
  }
}
