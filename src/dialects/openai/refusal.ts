import type { HeaderFields, LimitName, LimitSignal, Refusal } from '../dialect.js';
import { parseInstant } from '../instants.js';
import { member, parseUnlisted } from '../json.js';
import { errorText, limitsIn, nameOf, PERIOD_MS, refusal, untilLatestReset } from '../refusals.js';
import { parseGoDuration, readRetryAfter, readRetryInfo, untilInstant } from '../retry-after.js';
import { readLimits } from './limit-headers.js';

const REFUSING = new Set([402, 429, 503, 529]);

/** What no wait of minutes cures (wire facts §3.1): the account is out of money, closed, or has no such plan. */
export const SPENT: ReadonlySet<string> = new Set([
  'insufficient_quota',
  'billing_hard_limit_reached',
  'billing_not_active',
  'exceeded_current_quota_error',
  'usage_not_included',
]);

/** OpenRouter: another request, which costs less, may pass (§3.2). */
const TOO_DEAR = /fewer max_tokens|requires more credits, or/;
/** This request alone is larger than the limit, and no wait makes it fit. */
const TOO_LARGE = /^Request too large\b/;
/** A server's hiccup that says nothing of a limit. */
const HICCUP = /^(?:Error|Rate limited)$|\boverloaded\b/;

/** "… Please try again in 976ms", "… in 6m0s", "… in 1.5s". */
const TRY_AGAIN = /\btry again in (?<wait>(?:\d+(?:\.\d+)?(?:ms|us|µs|h|m|s))+)/i;
/** Azure: "… retry after 37 seconds", "Try again in 37 seconds". */
const RETRY_SECONDS = /\b(?:retry after|try again in) (?<seconds>\d{1,9}(?:\.\d+)?) ?seconds?\b/i;

/** Gemini names the quota: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`. */
const QUOTA_ID = /(?<what>InputToken|Token|Request)[A-Za-z]*?Per(?<period>Minute|Day|Hour|Second)/;

const MAX_DETAILS = 32;
/** The search costs the square of it. */
const MAX_QUOTA_ID = 200;

interface UpstreamError {
  readonly type: string;
  readonly code: string;
  readonly message: string;
  readonly details: readonly unknown[];
  /** Until a ChatGPT plan is whole again (§3.2). */
  readonly planWaitMs: number | null;
  /** A gateway says that the provider behind it refused. */
  readonly byProvider: boolean;
}

/** `readRefusal` is null for every other status. */
export function mayRefuse(status: number): boolean {
  return REFUSING.has(status);
}

/** Kinds of refusal by wire facts §3; what is done about them is not decided here. */
export function readRefusal(
  status: number,
  headers: HeaderFields,
  body: string,
  now: number,
): Refusal | null {
  if (!mayRefuse(status)) return null;
  const error = readError(body, now);
  const stated = readRetryAfter(headers, now) ?? readRetryInfo(body) ?? error.planWaitMs;
  switch (status) {
    case 402:
      if (TOO_DEAR.test(error.message)) return null;
      // With a wait it is the budget of what is in flight, which comes back.
      return refusal(stated === null ? 'terminal' : 'quota', stated);
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
  if (SPENT.has(error.code) || SPENT.has(error.type)) return refusal('terminal', null);
  if (TOO_LARGE.test(error.message)) return null;
  const violations = violationsOf(error.details);
  if (violations.some(({ none }) => none)) return null;
  // A day's quota comes with a wait of seconds all the same (wire facts §3.2), unless a shorter one
  // is violated beside it and the wait is that one's.
  if (violations.length > 0 && violations.every(({ period }) => period === 'Day')) {
    return refusal('terminal', null, violations.map(nameOfViolation));
  }
  const signals = readLimits(headers, now);
  const limits = namedLimits(error, violations, signals);
  const waitMs =
    stated ?? untilLatestReset(signals.filter(isAmong(limits)), now) ?? waitIn(error.message);
  if (waitMs !== null) return refusal('quota', waitMs, limits);
  // These limits are those of a minute or a day, and say so. One that says nothing is no evidence of
  // what the operator's window holds, unless the probe after it is refused as well.
  if (limits.length > 0) return refusal('unknown', null, limits);
  const hiccup =
    error.byProvider ||
    HICCUP.test(error.message) ||
    (headers.get('x-should-retry') === 'true' && signals.length === 0);
  return refusal(hiccup ? 'transient' : 'unknown', null);
}

/** Named by the message, else by the quota violated, the error's type, or headers that say 0 left. */
function namedLimits(
  { message, type }: UpstreamError,
  violations: readonly Violation[],
  signals: readonly LimitSignal[],
): readonly LimitName[] {
  const inMessage = limitsIn(message);
  if (inMessage.length > 0) return inMessage;
  if (violations.length > 0) return violations.map(nameOfViolation);
  const typed = signals.find(({ name }) => name === type);
  if (type === 'tokens' || type === 'requests') {
    return [{ name: type, windowMs: typed?.windowMs ?? null }];
  }
  return signals
    .filter(({ remaining, utilization }) => remaining === 0 || (utilization ?? 0) >= 1)
    .map(nameOf);
}

/** Groq's headers are about the tokens of a minute also where those of a day refused. */
function isAmong(limits: readonly LimitName[]): (signal: LimitSignal) => boolean {
  return (signal) =>
    limits.some(({ name, windowMs }) => {
      const isUnknown = windowMs === null || signal.windowMs === null;
      return name === signal.name && (isUnknown || windowMs === signal.windowMs);
    });
}

function waitIn(message: string): number | null {
  const duration = TRY_AGAIN.exec(message)?.groups?.['wait'];
  if (duration !== undefined) return parseGoDuration(duration);
  const seconds = RETRY_SECONDS.exec(message)?.groups?.['seconds'];
  return seconds === undefined ? null : parseGoDuration(`${seconds}s`);
}

interface Violation {
  readonly what: string;
  readonly period: string;
  /** The quota is none at all: the model is not to be had, whatever was used. */
  readonly none: boolean;
}

/** Of a `google.rpc.QuotaFailure` (wire facts §3.2). */
function violationsOf(details: readonly unknown[]): readonly Violation[] {
  return details.slice(0, MAX_DETAILS).flatMap((detail) => {
    const violations = member(detail, 'violations');
    if (!Array.isArray(violations)) return [];
    return violations.slice(0, MAX_DETAILS).flatMap((violation: unknown) => {
      const id = text(member(violation, 'quotaId')).slice(0, MAX_QUOTA_ID);
      const groups = QUOTA_ID.exec(id)?.groups;
      const value = member(violation, 'quotaValue');
      const { what = '', period = '' } = groups ?? {};
      return groups === undefined ? [] : [{ what, period, none: value === '0' || value === 0 }];
    });
  });
}

function nameOfViolation({ what, period }: Violation): LimitName {
  const name = what === 'Request' ? 'requests' : what === 'InputToken' ? 'input_tokens' : 'tokens';
  return { name, windowMs: PERIOD_MS[period.toLowerCase()] ?? null };
}

/**
 * OpenAI's envelope `{"error":{…}}`; Mistral's and Azure's gateway answer without one.
 */
function readError(body: string, now: number): UpstreamError {
  const root = parseUnlisted(body);
  const inner = member(root, 'error');
  const error = typeof inner === 'object' && inner !== null ? inner : root;
  const details = member(error, 'details');
  const metadata = member(error, 'metadata');
  return {
    type: text(member(error, 'type')),
    code: text(member(error, 'code')),
    message: text(member(error, 'message')),
    details: Array.isArray(details) ? details : [],
    planWaitMs: planWait(error, now),
    byProvider: ['provider_name', 'provider_code'].some(
      (name) => member(metadata, name) !== undefined,
    ),
  };
}

/** As a wait, which needs no clock that agrees with ours, and as an instant; 0 says nothing. */
function planWait(error: unknown, now: number): number | null {
  const waitMs = parseGoDuration(`${text(member(error, 'resets_in_seconds'))}s`) ?? 0;
  return waitMs > 0 ? waitMs : untilInstant(parseInstant(text(member(error, 'resets_at'))), now);
}

/** A code may be a number. */
function text(value: unknown): string {
  return typeof value === 'number' ? String(value) : errorText(value);
}
