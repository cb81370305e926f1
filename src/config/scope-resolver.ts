import type { MatchedScopeConfig, UpstreamConfig } from './config.js';
import { credentialOf, fingerprint } from './fingerprint.js';

/** Looks up a header's value by lower-case name. */
export type HeaderLookup = (name: string) => string | undefined;

/** Which scope a request belongs to: the first that matches, else the upstream's default scope. */
export function scopeResolver(upstream: UpstreamConfig): (header: HeaderLookup) => string {
  const { scopes, defaultScope, fingerprintKey } = upstream;
  if (scopes.length === 0) return () => defaultScope.name;
  const needsKey = scopes.some(({ match }) => match.by === 'key');
  return (header) => {
    const credential = needsKey ? credentialOf(header) : null;
    const print =
      credential === null || fingerprintKey === null
        ? null
        : fingerprint(fingerprintKey, credential);
    const matches = ({ match }: MatchedScopeConfig) =>
      match.by === 'key' ? match.fingerprint === print : header(match.header) === match.value;
    return (scopes.find(matches) ?? defaultScope).name;
  };
}
