import fc from 'fast-check';
import { expect, test } from 'vitest';
import { didYouMean, suggest } from '../../src/config/suggest.js';

const WORDS = ['listen', 'adminListen', 'adminToken', 'window', 'windowKind', 'budget', 'tick'];

test.each([
  ['listn', 'listen'],
  ['lsiten', 'listen'],
  ['admin_listen', 'adminListen'],
  ['ADMIN-TOKEN', 'adminToken'],
  ['token', 'adminToken'],
  ['windowLength', 'window'],
  ['tock', 'tick'],
  ['xyzzy', null],
  ['', null],
  ['---', null],
])('%s: %s', (given, expected) => {
  expect(suggest(given, WORDS)).toBe(expected);
});

test('whatever is given, the suggestion is one of the candidates or none', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (given) => {
      expect([...WORDS, null]).toContain(suggest(given, WORDS));
    }),
  );
});

test('a letter or two are no hint', () => {
  expect(suggest('--', ['-h'])).toBeNull();
  expect(suggest('dow', ['window', 'windowKind'])).toBeNull();
});

test('a candidate suggests itself', () => {
  for (const word of WORDS) expect(suggest(word, WORDS)).toBe(word);
});

test('reads as a sentence, or as nothing', () => {
  expect(didYouMean('listn', WORDS)).toBe(' Did you mean "listen"?');
  expect(didYouMean('xyzzy', WORDS)).toBe('');
});
