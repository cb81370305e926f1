import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cleanName } from '../../src/dialects/clean-name.js';

it.each([
  ['claude-opus-5-5', 'claude-opus-5-5'],
  ['modèle/ü 模型 😀', 'modèle/ü 模型 😀'],
  ['a\0b\tc\nd\x7fe\x85f\u2028g', 'a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg'],
  ['\ud83d', '\ufffd'],
  ['\ude00a', '\ufffda'],
  ['', ''],
])('%j is kept as %j', (name, expected) => {
  expect(cleanName(name, 100)).toBe(expected);
});

it.each([
  ['abc', 3, 'abc'],
  ['abcd', 3, 'abc'],
  ['ab😀', 4, 'ab😀'],
  ['ab😀', 3, 'ab'],
  ['ab😀c', 4, 'ab😀'],
  ['ab\ud83dcd', 3, 'ab'],
])('%j in %d characters is %j', (name, most, expected) => {
  expect(cleanName(name, most)).toBe(expected);
});

it('whatever comes in: bounded, whole characters, nothing that controls, and the same the next time', () => {
  const units = fc.array(fc.integer({ min: 0, max: 0xffff })).map((u) => String.fromCharCode(...u));
  const texts = fc.oneof(fc.string({ unit: 'binary' }), units);
  fc.assert(
    fc.property(texts, fc.integer({ min: 1, max: 20 }), (text, most) => {
      const name = cleanName(text, most);
      expect(name.length).toBeLessThanOrEqual(most);
      expect(name.isWellFormed()).toBe(true);
      expect(name).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
      expect(cleanName(name, most)).toBe(name);
    }),
  );
});
