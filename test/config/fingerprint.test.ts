import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bearerToken, credentialOf, fingerprint } from '../../src/config/fingerprint.js';
import { FINGERPRINT } from '../../src/config/parse.js';

test('is the start of HMAC-SHA256, as any other tool computes it', () => {
  // printf %s sk-ant-example | openssl dgst -sha256 -hmac a-key-of-16-char
  expect(fingerprint('a-key-of-16-char', 'sk-ant-example')).toBe(
    createHmac('sha256', 'a-key-of-16-char').update('sk-ant-example').digest('hex').slice(0, 16),
  );
});

test('is what the file takes, is stable, and depends on both the key and the credential', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (key, credential) => {
      const print = fingerprint(key, credential);
      expect(FINGERPRINT.parse(print)).toEqual({ ok: true, value: print });
      expect(fingerprint(key, credential)).toBe(print);
      expect(fingerprint(`${key}x`, credential)).not.toBe(print);
      expect(fingerprint(key, `${credential}x`)).not.toBe(print);
    }),
  );
});

test.each([
  [{ 'x-api-key': 'sk-1' }, 'sk-1'],
  [{ 'x-api-key': ' sk-1 ', authorization: 'Bearer other' }, 'sk-1'],
  [{ 'x-api-key': '', authorization: 'Bearer tok' }, 'tok'],
  // Azure's and Gemini's.
  [{ 'api-key': 'az-1' }, 'az-1'],
  [{ 'x-goog-api-key': 'AIza1', authorization: 'Basic eDp5' }, 'AIza1'],
  [{ authorization: 'bearer  tok ' }, 'tok'],
  [{ authorization: 'Basic dXNlcjpwdw==' }, null],
  [{ authorization: 'Bearer' }, null],
  [{ authorization: 'Bearer a b' }, null],
  [{}, null],
])('the credential of %j is %s', (headers: Readonly<Record<string, string>>, expected) => {
  expect(credentialOf((name) => headers[name])).toBe(expected);
});

test('a bare token is no Authorization value', () => {
  expect(bearerToken('sk-ant-example')).toBeNull();
});
