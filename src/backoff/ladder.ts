import type { BackoffSettings } from './settings.js';

/** A stated wait is lengthened by up to this fraction, so that proxies don't return as one. */
const JITTER = 0.1;
/** Longest wait believed: what an upstream states beyond it is a mistake, or news for a later probe. */
const LONGEST_WAIT_MS = 31 * 24 * 3_600_000;

/** Pauses after signs of overload: 1, 2, 4 … 30 s, for it passes in seconds (wire facts §1.4, 529). */
const OVERLOAD_FIRST_MS = 1_000;
const OVERLOAD_LONGEST_MS = 30_000;
/** A stated wait is honoured on top of that, up to this. */
const OVERLOAD_STATED_LONGEST_MS = 300_000;

/**
 * Length of a cooldown. The first of an episode is what the upstream states (never less, up to 10 %
 * more); without a statement it is the ladder's; after a refused probe the larger of the two.
 * `rung` from 1; `jitter` in [0, 1).
 */
export function cooldownMs(
  settings: BackoffSettings,
  rung: number,
  statedWaitMs: number | null,
  jitter: number,
): number {
  const { ladderMs } = settings;
  const ladder = ladderMs[Math.min(rung, ladderMs.length) - 1] ?? 0;
  if (statedWaitMs === null) return ladder;
  const stated = Math.ceil(Math.min(statedWaitMs, LONGEST_WAIT_MS) * (1 + JITTER * jitter));
  return rung === 1 ? stated : Math.max(stated, ladder);
}

/** A terminal refusal states no end that could be believed: it lasts until the next look. */
export function terminalMs(settings: BackoffSettings): number {
  return settings.probeEveryMs > 0 ? settings.probeEveryMs : LONGEST_WAIT_MS;
}

/** `rung` from 1. */
export function overloadMs(rung: number, statedWaitMs: number | null): number {
  const ladder = Math.min(OVERLOAD_LONGEST_MS, OVERLOAD_FIRST_MS * 2 ** Math.min(rung - 1, 10));
  return Math.max(ladder, Math.min(statedWaitMs ?? 0, OVERLOAD_STATED_LONGEST_MS));
}
