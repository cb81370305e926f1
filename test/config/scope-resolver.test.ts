import { describe, expect, it } from 'vitest';
import type { UpstreamConfig } from '../../src/config/config.js';
import { fingerprint } from '../../src/config/fingerprint.js';
import { loadConfig } from '../../src/config/load.js';
import { scopeResolver, tellsOrganizations } from '../../src/config/scope-resolver.js';
import { NO_FILES } from './load.js';

const KEY = 'a-key-of-16-char';

function upstream(scopes: string): UpstreamConfig {
  const file = `
upstreams:
  - url: http://127.0.0.1:9
    name: api
    fingerprintKey: ${KEY}
    ${scopes}
`;
  const machine = { ...NO_FILES, readFile: () => file };
  const result = loadConfig({ TIDEGATE_CONFIG: 'tidegate.yaml' }, '/', machine);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.config.upstreams[0]!;
}

const known = new Map([[fingerprint(KEY, 'sk-known'), 'org-1']]);

function scopeOf(scopes: string, headers: Readonly<Record<string, string>>): string {
  const resolve = scopeResolver(upstream(scopes), (print) => known.get(print));
  return resolve((name) => headers[name]);
}

describe('the scope of a request', () => {
  const SCOPES = `scopes:
      - {name: team, header: x-team, value: blue}
      - {name: mine, keyFingerprint: ${fingerprint(KEY, 'sk-mine')}}
      - {name: corp, organization: org-1}`;

  it.each([
    ['api/team', { 'x-team': 'blue', 'x-api-key': 'sk-mine' }],
    ['api/mine', { 'x-team': 'red', 'x-api-key': 'sk-mine' }],
    ['api/mine', { authorization: 'Bearer sk-mine' }],
    ['api/corp', { 'x-api-key': 'sk-known' }],
    ['api', { 'x-api-key': 'sk-unknown' }],
    ['api', {}],
  ])('is %s for %j', (scope, headers) => {
    expect(scopeOf(SCOPES, headers)).toBe(scope);
  });

  it('is no organization’s where the request has no credential, whatever is known', () => {
    const resolve = scopeResolver(upstream(SCOPES), () => 'org-1');
    expect(resolve((name) => (name === 'x-api-key' ? 'sk-any' : undefined))).toBe('api/corp');
    expect(resolve(() => undefined)).toBe('api');
  });

  it('is the default one where there is no other', () => {
    expect(scopeOf('', { 'x-team': 'blue' })).toBe('api');
  });

  it('asks the answers for organizations only where a scope wants to know', () => {
    expect(tellsOrganizations(upstream(SCOPES))).toBe(true);
    expect(tellsOrganizations(upstream(''))).toBe(false);
  });
});
