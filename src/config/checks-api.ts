import type { Given } from './given.js';
import type { Findings } from './problem.js';
import { readsTokens, type UpstreamDraft } from './upstreams.js';

/** Which dialect each of these settings is for. With any other it would have no effect. */
const FOR_DIALECT = {
  streamUsage: 'openai',
  cachedInput: 'openai',
  meteredPaths: 'generic',
  inputTokensAt: 'generic',
  outputTokensAt: 'generic',
} as const;

/** Settings of an API against the dialect it speaks. */
export function checkApi(upstream: UpstreamDraft, findings: Findings): void {
  const { dialect, limits, scopes } = upstream;
  if (!dialect.ok) return;
  for (const key of Object.keys(FOR_DIALECT) as (keyof typeof FOR_DIALECT)[]) {
    const given: Given<unknown> = upstream[key];
    if (given.from === 'default' || FOR_DIALECT[key] === dialect.value) continue;
    findings.problem(given.place, {
      message: `has no effect: it is for the dialect "${FOR_DIALECT[key]}", and this upstream speaks "${dialect.value}"`,
      allowed: `remove it, or set dialect: ${FOR_DIALECT[key]}`,
    });
  }
  if (dialect.value !== 'generic') return;
  for (const { organization } of scopes) {
    if (!organization.ok || organization.value === null) continue;
    findings.problem(organization.place, {
      message: 'matches nothing: answers of a generic API name no organization',
      allowed: 'a scope by "header" and "value", or by "keyFingerprint"',
    });
  }
  if (readsTokens(upstream)) return;
  for (const { unit } of [...limits, ...scopes.flatMap((scope) => scope.limits ?? [])]) {
    if (!unit.ok || unit.value === 'requests') continue;
    findings.problem(unit.place, {
      given: unit.value,
      message: 'cannot be counted: nothing says where this API states tokens',
      allowed: 'requests; or any, together with "inputTokensAt" or "outputTokensAt"',
      example: 'requests',
    });
  }
}
