import { nextTrail, observe } from '../calibration/estimate.js';
import type { Admission } from './admission.js';
import type { ScopeRuntime } from './scope-runtime.js';
import type { SettleRequest } from './settle.js';
import type { Settlement } from './settlement.js';

/**
 * What a settled request teaches for the estimates of those to come. Returns what is to be kept in the
 * state, when it is time to.
 */
export function learnFrom(
  runtime: ScopeRuntime,
  { basis, grant, learned, request, session }: Admission,
  settlement: Settlement,
): SettleRequest['estimate'] {
  if (settlement.kind !== 'success' || !settlement.complete) return null;
  const { inputTokens, cachedTokens, outputTokens } = settlement;
  if (inputTokens === null || outputTokens === null) return null;
  const usage = { inputTokens, cachedTokens, outputTokens };
  const { model } = request;
  if (session !== '') runtime.sessions.set(session, nextTrail(basis, usage, grant.admittedAt));
  const newest = observe(runtime.models.get(model) ?? learned, basis, usage, grant.admittedAt);
  return runtime.models.learn(model, newest, grant.admittedAt) ? { model, learned: newest } : null;
}
