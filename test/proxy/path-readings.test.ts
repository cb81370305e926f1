import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import { genericDialect } from '../../src/dialects/generic/generic-dialect.js';
import { openAiDialect } from '../../src/dialects/openai/openai-dialect.js';
import { meteredPath } from '../../src/proxy/path-readings.js';

const OPENAI = openAiDialect({ cachedInput: 'counted', streamUsage: 'ask' });
const generic = (...meteredPaths: string[]) =>
  genericDialect({ meteredPaths, inputTokensAt: null, outputTokensAt: null });

const metered = (target: string, dialect = ANTHROPIC) => meteredPath(dialect, 'POST', target);

describe('a metered path', () => {
  it.each([
    '/v1/%6Dessages',
    '/%76%31/messages',
    '/v1%2fmessages',
    '/v1/messages%2F',
    '/v1/%256Dessages',
    '/v1/%25256dessages',
    '/v1%5Cmessages',
    '/v1\\messages',
    '//v1//messages/',
    '/V1/MESSAGES',
    '/v1/messages;a=b',
    '/v1;a/messages;b',
    '/v1;a%2fb/messages',
    '/v1/messages%3Bx',
    '/v1/messages%3fbeta=true',
    '/v1/messages%23x',
    '/v1/messages%20',
    '/v1/messages%09/',
    '/v1/messages%00.json',
  ])('is one however it is spelt: %s', (target) => {
    expect(metered(target)).toMatch(/^\/+v1\/+messages\/*$/i);
    expect(metered(`${target}?beta=true`)).toBe(metered(target));
  });

  it.each([
    '/../anthropic/v1/messages',
    '/%2e%2e/anthropic/v1/messages',
    '/v1/x/../messages',
    '/v1/x/.%2E/messages',
    '/x%2F..%2Fv1/messages',
    '/x%252f..%252fv1/messages',
    '/v1/messages/x%2f..',
    '/v1/x\\..\\messages',
    '/v1/./messages',
    '/v1/x/..;a/messages',
    '/v1/x/..%20/messages',
    '//..//../v1/messages',
    '/..',
    // What is no escape, or no UTF-8, hides no others.
    '/v1/messages/%ff%2f%2e%2e',
    '/v1/messages/%zz%2f%2e%2e',
  ])('may be this one, and nobody can tell: %s', (target) => {
    expect(metered(target)).toBe('');
    expect(meteredPath(ANTHROPIC, 'GET', target)).toBeNull();
  });

  it('may be this one where there is more to read than is looked at', () => {
    expect(metered(`/v1/models/%${'25'.repeat(40)}41`)).toBe('');
    const odd = '/v1/models/%41'.padEnd(1_024, 'a');
    expect([metered(odd), metered(`${odd}?${odd}`), metered(`${odd}a`)]).toEqual([null, null, '']);
    expect(metered(`/v1/models/${'a'.repeat(3_000)}`)).toBeNull();
  });

  it('is handed on as plain as it can be read', () => {
    const target = '/openai/deployments/gpt%2D4%2e1/chat/completions?api-version=1';
    expect(metered(target, OPENAI)).toBe('/openai/deployments/gpt-4.1/chat/completions');
  });

  it('is one as it came, too: an escaped slash may be none', () => {
    const path = '/models/org%2Fname/run';
    expect(metered(path, generic('/models/*/run'))).toBe(path);
    expect(metered(path, generic('/models/org/name/run'))).toBe('/models/org/name/run');
  });

  // Any mixture of the spellings, up to twice over.
  const spelling = (character: string) => {
    const hex = `%${character.charCodeAt(0).toString(16)}`;
    const others = character === '/' ? ['//', '\\', ';x/', ';y=%2f;/'] : [character.toUpperCase()];
    return fc.constantFrom(character, ...others, hex, hex.toUpperCase(), hex.replace('%', '%25'));
  };
  const spelt = fc
    .tuple(...[...'/v1/messages'].map(spelling), fc.constantFrom('', '/', ';z', '%3Fa', '%20'))
    .map((parts) => parts.join(''))
    // Before the first slash there is no segment.
    .filter((path) => path.startsWith('/'));
  it('is one in any mixture of these', () => {
    fc.assert(fc.property(spelt, (target) => metered(target) !== null));
  });
});

describe('another path', () => {
  it.each([
    '/',
    '/v1/models',
    '/v1/messages/count_tokens',
    '/v1/messages/batches?x=/../v1/messages',
    '/v1/mess%61ges/count_tokens',
    '/v1/messages;a=b/count_tokens',
    '/v1/messages%2Fbatches',
    '/v1/models/org%2Fname',
    '/v1/models%ff',
    '/v1/files/x%20y;v=1',
    '/v1/fine_tuning/checkpoints/ft%3Agpt%3Aorg/permissions',
    '/v1/files/..name/x...',
    '/v1/messages%252Fbatches',
    '/v1/files/a.b/.c/d',
  ])('stays unmetered: %s', (target) => {
    expect(metered(target)).toBeNull();
  });

  const segment = fc.stringMatching(/^[\w.~!$&'()*+,=:@-]{1,12}$/);
  it('is judged as it is, where it is an ordinary one', () => {
    const path = fc.array(segment, { maxLength: 5 }).map((parts) => `/${parts.join('/')}`);
    fc.assert(
      fc.property(path, (target) => {
        fc.pre(!/\/\.\.?(?:\/|$)/.test(target));
        let asked = 0;
        const isMetered = (_method: string, given: string | null) => {
          asked += 1;
          expect(given).toBe(target);
          return false;
        };
        meteredPath({ isMetered }, 'POST', `${target}?a=../%2e;b`);
        expect(asked).toBe(1);
      }),
    );
  });

  const hostile = fc.constantFrom(
    '/',
    '.',
    '%2e',
    '%2F',
    '%25',
    '\\',
    ';',
    '%5c',
    '%ff',
    '%',
    'v1',
  );
  it('is read in a bounded number of ways, whatever stands in it', () => {
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 80 }), (parts) => {
        let asked = 0;
        const isMetered = () => (asked += 1) < 0;
        meteredPath({ isMetered }, 'POST', `/${parts.join('')}`);
        expect(asked).toBeLessThan(40);
      }),
    );
  });
});
