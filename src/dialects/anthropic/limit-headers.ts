import type { HeaderFields, LimitSignal } from '../dialect.js';
import { parseInstant } from '../instants.js';
import { draftOf, isStated, parseAmount, type LimitDrafts } from '../limit-drafts.js';
import { MAX_WAIT_MS } from '../retry-after.js';

/**
 * Name of the signal for a subscription as a whole: the `anthropic-ratelimit-unified-*` that name
 * no window.
 */
export const OVERALL = 'unified';
/** Name of the pool that takes over when a subscription's windows are used up. */
export const OVERAGE = 'overage';

const UNIFIED =
  /^anthropic-ratelimit-unified-(?:(?<window>.+)-)?(?<field>status|reset|utilization)$/;
const CLASSIC = new RegExp(
  '^anthropic-(?<pool>ratelimit|priority|fast)-' +
    '(?<unit>requests|tokens|input-tokens|output-tokens)-(?<field>limit|remaining|reset)$',
);
/** How every header of this API begins that is none of HTTP's. */
const PREFIX = 'anthropic-';
const NONE: readonly LimitSignal[] = [];
const REPRESENTATIVE = 'anthropic-ratelimit-unified-representative-claim';
const OVERAGE_DISABLED = 'anthropic-ratelimit-unified-overage-disabled-reason';

/** The classic limits are those of a minute, refilled continuously (wire facts §1.3). */
const CLASSIC_WINDOW_MS = 60_000;

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

const NUMBER_WORDS = 'zero one two three four five six seven eight nine ten'.split(' ');
const CLAIM = /^(?<number>[a-z]+)_(?<unit>minute|hour|day|week)(?:_(?<rest>.+))?$/;

/**
 * Classic, priority and fast limits (wire facts §1.1) and a subscription's windows (§1.2), in the
 * order of their headers. A value that makes no sense is left out, and a limit with no value that
 * does.
 *
 * `rejected` here is the window's own state. It does not mean that this answer is a refusal: a
 * window that is used up stays rejected while the requests that overage pays for pass.
 */
export function readLimitSignals(headers: HeaderFields, now: number): readonly LimitSignal[] {
  const names = headers.names(PREFIX);
  if (names.length === 0) return NONE;
  const drafts: LimitDrafts = new Map();
  for (const header of names) {
    if (!isLimitHeader(header)) continue;
    const value = headers.get(header) ?? '';
    const classic = CLASSIC.exec(header)?.groups;
    if (classic !== undefined) {
      readClassic(drafts, classic, value, now);
      continue;
    }
    const unified = UNIFIED.exec(header)?.groups;
    if (unified !== undefined) readUnified(drafts, unified, value, now);
  }
  // Where overage is switched off, its status says that of the account, not of a limit.
  if (headers.get(OVERAGE_DISABLED) !== undefined) drafts.delete(OVERAGE);
  const claim = headers.get(REPRESENTATIVE);
  const representative = claim === undefined ? undefined : drafts.get(nameOfClaim(claim));
  if (representative !== undefined) representative.representative = true;
  return [...drafts.values()].filter(isStated);
}

/** Whether the answer carries any header of this API that speaks of limits. */
export function hasLimitHeaders(headers: HeaderFields): boolean {
  return headers.names(PREFIX).some(isLimitHeader);
}

function isLimitHeader(header: string): boolean {
  return (
    header.startsWith('anthropic-ratelimit-') ||
    header.startsWith('anthropic-priority-') ||
    header.startsWith('anthropic-fast-')
  );
}

type Groups = Readonly<Record<string, string | undefined>>;

function readClassic(drafts: LimitDrafts, header: Groups, value: string, now: number): void {
  const unit = (header['unit'] ?? '').replace('-', '_');
  const name = header['pool'] === 'ratelimit' ? unit : `${header['pool']}_${unit}`;
  const draft = draftOf(drafts, name, CLASSIC_WINDOW_MS);
  if (draft === null) return;
  if (header['field'] === 'limit') draft.limit = parseAmount(value);
  else if (header['field'] === 'remaining') draft.remaining = parseAmount(value);
  else draft.resetAt = parseReset(value, now);
}

function readUnified(drafts: LimitDrafts, header: Groups, value: string, now: number): void {
  const name = header['window'] ?? OVERALL;
  const draft = draftOf(drafts, name, windowOf(name));
  if (draft === null) return;
  if (header['field'] === 'status') draft.status = parseStatus(value);
  else if (header['field'] === 'utilization') draft.utilization = parseFraction(value);
  else if (header['field'] === 'reset') draft.resetAt = parseReset(value, now);
}

/** `5h` and `7d_opus` tell their length; `overage` has none. */
function windowOf(name: string): number | null {
  const [, length, unit] = /^(\d{1,4})([smhdw])(?:_|$)/.exec(name) ?? [];
  const unitMs = UNIT_MS[unit ?? ''];
  return unitMs === undefined || Number(length) === 0 ? null : Number(length) * unitMs;
}

/** The claim spells out what the header names abbreviate: `seven_day_opus` is `7d_opus`. */
function nameOfClaim(claim: string): string {
  const groups = CLAIM.exec(claim)?.groups;
  const number = NUMBER_WORDS.indexOf(groups?.['number'] ?? '');
  if (groups === undefined || number === -1) return claim;
  const rest = groups['rest'] === 'overage_included' ? 'oi' : groups['rest'];
  return `${number}${groups['unit']?.charAt(0)}${rest === undefined ? '' : `_${rest}`}`;
}

function parseStatus(text: string): LimitSignal['status'] {
  switch (text) {
    case 'allowed':
      return 'allowed';
    case 'allowed_warning':
      return 'warning';
    case 'rejected':
      return 'rejected';
    default:
      return null;
  }
}

function parseFraction(text: string): number | null {
  if (!/^\d{1,6}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?$/.test(text)) return null;
  const fraction = Number(text);
  return Number.isFinite(fraction) ? fraction : null;
}

function parseReset(text: string, now: number): number | null {
  const resetAt = parseInstant(text);
  return resetAt !== null && Math.abs(resetAt - now) <= MAX_WAIT_MS ? resetAt : null;
}
