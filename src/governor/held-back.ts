import { allowanceAt, isIdle, restartRamp } from '../backoff/ramp.js';
import { mayBeFull } from '../budget/brim.js';
import { limitOf, reservedOf } from '../budget/limits.js';
import { binds } from '../budget/model-pools.js';
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
  draft: Draft,
  rules: readonly LimitRules[],
): { readonly limit: string | null } | null {
  const { hot, now } = draft;
  if (bindingRamp(hot, now) !== null) return { limit: null };
  const { guessed, coldTokens } = guesses(hot);
  if (guessed === 0) return null;
  const full = rules.find((rule) => {
    const limit = limitOf(hot.limits, rule.name);
    // What is in flight is of other models, and costs this limit nothing.
    if (rule.models !== null && reservedOf(limit) === 0) return false;
    return mayBeFull(limit, rule, { guessed, coldTokens, excess: excessOf(draft, rule) });
  });
  return full === undefined ? null : { limit: full.name };
}

/** What a request that is charged to the limit may cost beyond its estimate. */
function excessOf({ cold }: Draft, rule: LimitRules): number {
  let most = 0;
  for (const [model, { excessP99 }] of Object.entries(cold.estimates)) {
    if (excessP99 > most && binds(rule, model)) most = excessP99;
  }
  return most;
}
