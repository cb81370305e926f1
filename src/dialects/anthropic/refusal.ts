import type { HeaderFields, LimitSignal, Refusal } from '../dialect.js';
import { parseRfc3339 } from '../instants.js';
import { member, parseJson } from '../json.js';
import { errorText, limitsIn, nameOf, refusal, untilLatestReset } from '../refusals.js';
import { readRetryAfter, untilInstant } from '../retry-after.js';
import { hasLimitHeaders, OVERAGE, OVERALL, readLimitSignals } from './limit-headers.js';

const REFUSING = new Set([400, 402, 429, 503, 529]);

/** Error codes and reasons that no wait of minutes cures (wire facts §1.2, §1.4). */
const SPENT_CODES = new Set(['enforced_spend_limit_reached', 'contract_spend_limit_reached']);
const SPENT_REASONS = new Set(['out_of_credits', 'org_spend_cap_reached']);
const OVERAGE_DISABLED = 'anthropic-ratelimit-unified-overage-disabled-reason';

/**
 * The spend limit that an organization set for itself, and the end of its credit (anthropics/claude-code#66314),
 * come as a 400 and have no code of their own.
 */
const NO_MONEY = [
  'You have reached your specified API usage limits',
  'Your credit balance is too low to access the Anthropic API',
];
const ACCESS_AGAIN = /regain access on (?<day>\d{4}-\d\d-\d\d) at (?<time>\d\d:\d\d) UTC/;
/** A server's hiccup that names itself by saying nothing. */
const BARE_MESSAGES = new Set(['Error', 'Rate limited']);
/**
 * A 429 on what this request asks for, whatever is left of the limits: a context of a million
 * tokens without the paid option. Seen with both wordings in anthropics/claude-code#29584 and
 * #64982.
 */
const NOT_ENTITLED = /^(?:Extra usage is|Usage credits are) required for long context requests/;

interface UpstreamError {
  readonly type: string;
  readonly message: string;
  readonly code: string;
}

/** `readRefusal` is null for every other status. */
export function mayRefuse(status: number): boolean {
  return REFUSING.has(status);
}

/** Kinds of refusal by wire facts §1.4; what is done about them is not decided here. */
export function readRefusal(
  status: number,
  headers: HeaderFields,
  body: string,
  now: number,
): Refusal | null {
  if (!mayRefuse(status)) return null;
  const error = readError(body);
  const stated = readRetryAfter(headers, now);
  switch (status) {
    case 400:
      return error.type === 'invalid_request_error' &&
        NO_MONEY.some((beginning) => error.message.startsWith(beginning))
        ? refusal('terminal', stated ?? untilAccess(error.message, now))
        : null;
    case 402:
      return error.type === 'billing_error' ? refusal('terminal', stated) : null;
    case 429:
      return judge429(headers, error, stated, now);
    default:
      return refusal('overload', stated);
  }
}

function judge429(
  headers: HeaderFields,
  error: UpstreamError,
  stated: number | null,
  now: number,
): Refusal | null {
  // Anthropic's own gateway answers a cap with 429 and `billing_error` (wire facts §4.2).
  if (SPENT_CODES.has(error.code) || error.type === 'billing_error') {
    return refusal('terminal', stated);
  }
  if (error.code === 'ramp_limit_exceeded') return refusal('acceleration', stated);
  if (NOT_ENTITLED.test(error.message)) return null;

  const signals = readLimitSignals(headers, now);
  if (stated === null && isSpent(headers, signals)) return refusal('terminal', null);
  const binding = bindingSignals(signals);
  const limits = binding.length > 0 ? binding.map(nameOf) : limitsIn(error.message);
  if (stated !== null || limits.length > 0 || hasLimitHeaders(headers)) {
    return refusal('quota', stated ?? untilReset(signals, binding, now), limits);
  }
  const hiccup = headers.get('x-should-retry') === 'true' || BARE_MESSAGES.has(error.message);
  return refusal(hiccup ? 'transient' : 'unknown', null);
}

/**
 * The limits that refused. Of a subscription only the windows themselves tell: its overall status
 * is `rejected` too when one model's window is used up, and the others must not be blocked for
 * that. A rejected overage merely says that nothing takes over, unless no window is rejected beside
 * it.
 */
function bindingSignals(signals: readonly LimitSignal[]): readonly LimitSignal[] {
  const rejected = signals.filter(
    (signal) => signal.status === 'rejected' && signal.name !== OVERALL,
  );
  const windows = rejected.filter((signal) => signal.name !== OVERAGE);
  if (windows.length > 0) return windows;
  if (rejected.length > 0) return rejected;
  const overall = signals.find((signal) => signal.name === OVERALL);
  if (overall?.status === 'rejected') {
    // Accounts that are billed for overage get no status for each window, only the name of one.
    return signals.filter((signal) => signal.representative && signal.status === null);
  }
  return signals.filter((signal) => signal.remaining === 0);
}

function untilReset(
  signals: readonly LimitSignal[],
  binding: readonly LimitSignal[],
  now: number,
): number | null {
  const overall = signals.filter((signal) => signal.status === 'rejected');
  return untilLatestReset(binding.length > 0 ? binding : overall, now);
}

/** Nothing is left to pay with, and no reset will bring it back. */
function isSpent(headers: HeaderFields, signals: readonly LimitSignal[]): boolean {
  const reason = headers.get(OVERAGE_DISABLED);
  return (
    reason !== undefined &&
    SPENT_REASONS.has(reason) &&
    signals.every((signal) => signal.resetAt === null)
  );
}

function untilAccess(message: string, now: number): number | null {
  const groups = ACCESS_AGAIN.exec(message)?.groups;
  if (groups === undefined) return null;
  return untilInstant(parseRfc3339(`${groups['day']}T${groups['time']}:00Z`), now);
}

/** The envelope's three texts (wire facts §1.4); empty where there is none. */
function readError(body: string): UpstreamError {
  const error = member(parseJson(body), 'error');
  return {
    type: errorText(member(error, 'type')),
    message: errorText(member(error, 'message')),
    code: errorText(member(member(error, 'details'), 'error_code')),
  };
}
