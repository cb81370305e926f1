import { rfc3339 } from '../platform/clock.js';
import type { LocalProblem } from '../dialects/dialect.js';
import type { Denial } from '../governor/admit.js';

/** What a local refusal says of itself in `tidegate-decision`. */
export type Decision = Denial['decision'] | 'state';

/** A refusal by Tidegate itself: its cause, and the headers that go with it. */
export interface LocalRefusal {
  readonly problem: LocalProblem['kind'];
  readonly message: string;
  readonly decision: Decision;
  readonly retryAfterMs: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Below this, clients do odd things with a wait (wire facts §4.1); above the longest, others. */
const SHORTEST_RETRY_MS = 1_000;
/** A client is not told to come back for a wait longer than this. */
const WORTH_RETRYING_MS = 600_000;
/** When a state that can't be written is worth another try. */
const STATE_RETRY_MS = 1_000;

/**
 * `probes`: a cooldown is over, and a probe out; else a request is held back for what is in flight.
 * `maxRetryAfterMs`: longest `retry-after` to state; clients misbehave at a minute and above.
 */
export function refusalOf(denial: Denial, maxRetryAfterMs: number, probes: boolean): LocalRefusal {
  const waitMs = Math.max(0, denial.until - denial.now);
  const retry = denial.decision !== 'terminal' && waitMs <= WORTH_RETRYING_MS;
  return {
    problem: PROBLEMS[denial.decision],
    message: `${reasonOf(denial, probes)} Blocked until ${rfc3339(denial.until)}.`,
    ...stated(denial.decision, denial.until, waitMs, retry, maxRetryAfterMs),
  };
}

/** The state can't be written, or this instance is starting or draining; `now` in epoch ms. */
export function stateRefusal(reason: string, now: number, maxRetryAfterMs: number): LocalRefusal {
  return {
    problem: 'state-unavailable',
    message: reason,
    ...stated('state', now + STATE_RETRY_MS, STATE_RETRY_MS, true, maxRetryAfterMs),
  };
}

const PROBLEMS: Record<Denial['decision'], LocalProblem['kind']> = {
  cooldown: 'rate-limited',
  budget: 'rate-limited',
  probing: 'rate-limited',
  terminal: 'terminal',
  overload: 'overloaded',
};

const REASONS: Record<Denial['decision'], string> = {
  cooldown:
    'Tidegate is holding requests back: the upstream refused (429), and Tidegate waits before it tries again.',
  budget: 'Tidegate is holding requests back: the budget of this window is used up.',
  probing:
    'Tidegate is holding requests back: one request is probing whether the upstream accepts again.',
  terminal:
    'Tidegate is holding requests back: the upstream refuses for a reason that waiting does not cure (spend cap or no credit).',
  overload: 'Tidegate is holding requests back: the upstream is overloaded.',
};

/** No budget, and a state that was lost. */
const CAUTIOUS =
  'Tidegate is holding requests back: its state was lost, and few may be in flight until the upstream has been heard.';
/** There is room, but not for this request as well. */
const PROMISED =
  'Tidegate is holding requests back: what is left of the budget is promised to requests that came before.';
const IN_FLIGHT =
  'Tidegate is holding requests back for a moment: what is in flight has to be heard of first.';

/** Where others pass, it says so. */
function reasonOf({ decision, pool, limit, promised }: Denial, probes: boolean): string {
  if (decision === 'budget' && limit === null) return CAUTIOUS;
  if (promised) return PROMISED;
  if (decision === 'probing' && !probes) return IN_FLIGHT;
  const reason = REASONS[decision];
  return pool === null
    ? reason
    : reason.replace('holding requests back', 'holding requests of this model back');
}

function stated(
  decision: Decision,
  until: number,
  waitMs: number,
  retry: boolean,
  maxRetryAfterMs: number,
): Pick<LocalRefusal, 'decision' | 'retryAfterMs' | 'headers'> {
  const retryAfterMs = Math.ceil(Math.min(maxRetryAfterMs, Math.max(SHORTEST_RETRY_MS, waitMs)));
  const retryAfterS = Math.min(Math.ceil(retryAfterMs / 1000), Math.floor(maxRetryAfterMs / 1000));
  const headers = {
    'retry-after': String(retryAfterS),
    'retry-after-ms': String(retryAfterMs),
    'x-should-retry': String(retry),
    'tidegate-decision': decision,
    'tidegate-blocked-until': rfc3339(until),
  };
  return { decision, retryAfterMs, headers };
}
