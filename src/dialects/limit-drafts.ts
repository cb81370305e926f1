/** What the dialects' readings of limit headers are made of. */
import type { LimitSignal } from './dialect.js';

/** The set of limits is open; this many are read of one answer. */
const MAX_SIGNALS = 32;
const MAX_NAME = 100;

/** A limit as far as its headers have been read, each of which states one thing. */
export type LimitDraft = { -readonly [Field in keyof LimitSignal]: LimitSignal[Field] };

/** By name, in the order of their first headers. */
export type LimitDrafts = Map<string, LimitDraft>;

/** The limit of this name; null if there are too many, or the name is too long. */
export function draftOf(
  drafts: LimitDrafts,
  name: string,
  windowMs: number | null = null,
): LimitDraft | null {
  const known = drafts.get(name);
  if (known !== undefined) return known;
  if (drafts.size === MAX_SIGNALS || name.length > MAX_NAME) return null;
  const draft: LimitDraft = {
    name,
    windowMs,
    status: null,
    limit: null,
    remaining: null,
    utilization: null,
    resetAt: null,
    representative: false,
  };
  drafts.set(name, draft);
  return draft;
}

/** Whether anything of what was stated makes sense. */
export function isStated(signal: LimitSignal): boolean {
  const { status, limit, remaining, utilization, resetAt } = signal;
  return [status, limit, remaining, utilization, resetAt].some((value) => value !== null);
}

export function parseAmount(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}
