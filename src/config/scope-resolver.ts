import type { ScopeMatch, UpstreamConfig } from './config.js';
import { credentialOf, fingerprint } from './fingerprint.js';

/** Looks up a header's value by lower-case name. */
export type HeaderLookup = (name: string) => string | undefined;

/** The organization a credential belongs to, by its fingerprint, as far as it is known. */
export type OrganizationLookup = (fingerprint: string) => string | undefined;

/** Which scope a request belongs to: the first that matches, else the upstream's default scope. */
export function scopeResolver(
  upstream: UpstreamConfig,
  organizationOf: OrganizationLookup,
): (header: HeaderLookup) => string {
  const { scopes, defaultScope } = upstream;
  if (scopes.length === 0) return () => defaultScope.name;
  const print = fingerprinter(upstream);
  return (header) => {
    const key = print(header);
    const matches = (match: ScopeMatch): boolean => {
      switch (match.by) {
        case 'header':
          return header(match.header) === match.value;
        case 'key':
          return match.fingerprint === key;
        case 'organization':
          return key !== null && match.id === organizationOf(key);
      }
    };
    return (scopes.find(({ match }) => matches(match)) ?? defaultScope).name;
  };
}

/** Names the credential of a request without holding it; null where none is needed, or none is there. */
export function fingerprinter({
  fingerprintKey,
  scopes,
}: UpstreamConfig): (header: HeaderLookup) => string | null {
  const needed = scopes.some(({ match }) => match.by !== 'header');
  if (!needed || fingerprintKey === null) return () => null;
  return (header) => {
    const credential = credentialOf(header);
    return credential === null ? null : fingerprint(fingerprintKey, credential);
  };
}

/** Whether the upstream's answers must be asked which organization a credential belongs to. */
export function tellsOrganizations({ scopes }: UpstreamConfig): boolean {
  return scopes.some(({ match }) => match.by === 'organization');
}
