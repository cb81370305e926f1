import { allowanceAt, isIdle, restartRamp } from '../backoff/ramp.js';
import { mayBeFull } from '../budget/brim.js';
import { limitOf } from '../budget/limits.js';
import type { LimitRules } from '../budget/settings.js';
import type { HotState, Instant } from '../state/scope-state.js';
import type { Draft } from './draft.js';
import { guesses, inFlight } from './instances.js';

/** Idle time is over: admission ramps up, from where a ramp that holds has come to. Call before the admission that ends it is counted. */
export function endIdleTime(draft: Draft): void {
  const { hot, now } = draft;
  const flying = inFlight(hot);
  if (!isIdle(flying, hot.admittedAt, now)) return;
  draft.setHot({ ramp: restartRamp(hot.ramp, 0, flying, now) });
}

/** The success of the latest admission is news for the ramp: where few are in flight it need not grow. */
export function climbsRamp({ hot, now }: Draft): boolean {
  return hot.ramp !== null && inFlight(hot) > allowanceAt(hot.ramp, now) / 2;
}

/** The ramp where it holds requests back now; null: it does not. */
export function bindingRamp(
  hot: HotState,
  now: Instant,
): { readonly allowance: number; readonly inFlight: number } | null {
  if (hot.ramp === null) return null;
  const [allowance, flying] = [allowanceAt(hot.ramp, now), inFlight(hot)];
  return flying >= allowance ? { allowance, inFlight: flying } : null;
}

/**
 * What holds a request back for a moment that cooldown and budget would let pass: too many are in flight
 * for the ramp, or what is in flight may have reached a limit of its already. Null: nothing does.
 */
export function holdOf(
  { hot, cold, now }: Draft,
  rules: readonly LimitRules[],
): { readonly limit: string | null } | null {
  if (bindingRamp(hot, now) !== null) return { limit: null };
  const { guessed, coldTokens } = guesses(hot);
  if (guessed === 0) return null;
  const excess = Math.max(0, ...Object.values(cold.estimates).map((model) => model.excessP99));
  const full = rules.find((rule) =>
    mayBeFull(limitOf(hot.limits, rule.name), rule, { guessed, coldTokens, excess }),
  );
  return full === undefined ? null : { limit: full.name };
}
