import type { HeaderFields, LimitSignal } from '../dialect.js';
import { parseInstant } from '../instants.js';
import {
  draftOf,
  isStated,
  parseAmount,
  type LimitDraft,
  type LimitDrafts,
} from '../limit-drafts.js';
import { PERIOD_MS } from '../refusals.js';
import { MAX_WAIT_MS, parseGoDuration } from '../retry-after.js';

/** OpenAI, Azure, Groq: `x-ratelimit-remaining-tokens`; Mistral ends in `-minute` or `-month`. */
const NAMED = /^x-ratelimit-(?<field>limit|remaining|reset)-(?<name>[a-z0-9_-]+)$/;
/** OpenRouter, on errors only; other gateways too. */
const BARE = /^x-ratelimit-(?<field>limit|remaining|reset)$/;
/** Mistral's older names. */
const BY_SIZE =
  /^(?:x-)?ratelimitbysize-(?<field>limit|remaining|reset)(?:-(?<period>minute|month))?$/;
/** ChatGPT's plans, as Codex is told of them. */
const PLAN =
  /^x-codex-(?<name>primary|secondary)-(?<field>used-percent|window-minutes|reset-at|reset-after-seconds)$/;
/** How the names begin of all headers that speak of limits. */
const PREFIXES = ['x-ratelimit', 'ratelimitbysize-', 'x-codex-'];
const PERIOD = /^(?<name>.+)-(?<period>second|minute|hour|day|month)$/;

const MINUTE_MS = 60_000;
/** A refill computed from whole numbers is this far off its period at most. */
const TOLERANCE = 0.2;
/** Numbers above this are instants, below it waits in seconds. */
const FIRST_EPOCH_SECONDS = 1e9;

/**
 * Limits by wire facts §3, in the order of their headers. A reset is the time until the limit is
 * whole again. What makes no sense is left out: Azure's Responses state -1, -1 and 0 for what they
 * do not know.
 */
export function readLimits(headers: HeaderFields, now: number): readonly LimitSignal[] {
  const drafts: LimitDrafts = new Map();
  for (const header of PREFIXES.flatMap((prefix) => headers.names(prefix))) {
    readHeader(drafts, header, headers.get(header) ?? '', now);
  }
  return [...drafts.values()].map((draft) => signalOf(draft, now)).filter(isStated);
}

/**
 * The same with resets at the end of their second, as other APIs state them: a time from now differs
 * with every answer by some ms, and each change of it would be written.
 */
export function readLimitSignals(headers: HeaderFields, now: number): readonly LimitSignal[] {
  return readLimits(headers, now).map((signal) => {
    const { resetAt } = signal;
    return resetAt === null ? signal : { ...signal, resetAt: Math.ceil(resetAt / 1000) * 1000 };
  });
}

type Groups = Readonly<Record<string, string | undefined>>;

function readHeader(drafts: LimitDrafts, header: string, value: string, now: number): void {
  const plan = PLAN.exec(header)?.groups;
  if (plan !== undefined) return readPlan(drafts, plan, value, now);
  const named = NAMED.exec(header)?.groups ?? BARE.exec(header)?.groups;
  const bySize = named === undefined ? BY_SIZE.exec(header)?.groups : undefined;
  if (named !== undefined) readField(drafts, nameOf(named['name']), named, value, now);
  else if (bySize !== undefined) {
    const period = bySize['period'] ?? null;
    readField(drafts, { name: 'tokens', period }, bySize, value, now);
  }
}

/** `req-minute` is the requests of a minute; a limit without a name is one of requests. */
function nameOf(text = 'requests'): { name: string; period: string | null } {
  const groups = PERIOD.exec(text)?.groups;
  const name = (groups?.['name'] ?? text).replaceAll('-', '_');
  return { name: name === 'req' ? 'requests' : name, period: groups?.['period'] ?? null };
}

function readField(
  drafts: LimitDrafts,
  { name, period }: { readonly name: string; readonly period: string | null },
  groups: Groups,
  value: string,
  now: number,
): void {
  // Two periods of one unit are two limits, and the one of a minute is the plain one.
  const key = period === null || period === 'minute' ? name : `${name}_${period}`;
  const draft = draftOf(drafts, key);
  if (draft === null) return;
  if (period !== null) draft.windowMs = PERIOD_MS[period] ?? null;
  if (groups['field'] === 'limit') draft.limit = parseAmount(value);
  else if (groups['field'] === 'remaining') draft.remaining = parseAmount(value);
  else draft.resetAt = parseReset(value, now);
}

function readPlan(drafts: LimitDrafts, groups: Groups, value: string, now: number): void {
  const draft = draftOf(drafts, groups['name'] ?? '');
  if (draft === null) return;
  switch (groups['field']) {
    case 'used-percent':
      if (/^\d{1,4}(?:\.\d{1,20})?$/.test(value)) draft.utilization = Number(value) / 100;
      break;
    case 'window-minutes':
      if (/^[1-9]\d{0,6}$/.test(value)) draft.windowMs = Number(value) * MINUTE_MS;
      break;
    default:
      // It comes as an instant and as a wait, and one of them may be empty.
      draft.resetAt = parseReset(value, now) ?? draft.resetAt;
  }
}

function signalOf(draft: LimitDraft, now: number): LimitSignal {
  const { name, resetAt } = draft;
  const windowMs = draft.windowMs ?? refillPeriod(draft, now) ?? usualPeriod(name);
  // What refills in a minute is not empty for an hour: such a reset is about something else.
  const believed = resetAt !== null && (windowMs === null || resetAt - now <= 2 * windowMs);
  return { ...draft, name: planName(name, windowMs), windowMs, resetAt: believed ? resetAt : null };
}

/**
 * The period in which the whole limit is refilled, told by what is missing and how long that takes:
 * `requests` are those of a minute at OpenAI and of a day at Groq, and nothing else tells.
 */
function refillPeriod({ limit, remaining, resetAt }: LimitDraft, now: number): number | null {
  if (limit === null || remaining === null || resetAt === null) return null;
  const periodMs = ((resetAt - now) * limit) / (limit - remaining);
  const near = Object.values(PERIOD_MS).find(
    (candidate) => Math.abs(periodMs - candidate) <= TOLERANCE * candidate,
  );
  return near ?? null;
}

/** Limits of tokens are those of a minute with all of these providers (wire facts §3). */
function usualPeriod(name: string): number | null {
  return /(?:^|_)tokens(?:_usage_based)?$/.test(name) ? MINUTE_MS : null;
}

/** A plan's windows have the names that such windows have elsewhere: `5h`, `7d`. */
function planName(name: string, windowMs: number | null): string {
  if ((name !== 'primary' && name !== 'secondary') || windowMs === null) return name;
  const hours = windowMs / 3_600_000;
  return hours % 24 === 0 ? `${hours / 24}d` : Number.isInteger(hours) ? `${hours}h` : name;
}

/**
 * `6m0s`, whole or broken seconds, or an instant. Zero says nothing: a limit that is whole already
 * has no reset to come, and one that is not known has none either.
 */
function parseReset(text: string, now: number): number | null {
  const number = /^\d{1,15}(?:\.\d{1,9})?$/.test(text) ? Number(text) : null;
  const waitMs =
    number !== null && number < FIRST_EPOCH_SECONDS
      ? Math.round(number * 1000)
      : parseGoDuration(text);
  const resetAt = waitMs === null ? parseInstant(text) : now + waitMs;
  return resetAt !== null && resetAt > now && resetAt - now <= MAX_WAIT_MS ? resetAt : null;
}
