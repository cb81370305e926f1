import fc from 'fast-check';
import { expect, it } from 'vitest';
import { UnderWay } from '../../src/proxy/under-way.js';

/** Calls `ended()` and tells whether it has resolved by now. */
function watch(underWay: UnderWay): { over: boolean } {
  const seen = { over: false };
  void underWay.ended().then(() => (seen.over = true));
  return seen;
}

/** Long enough for every promise of `ended()`. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

it('nothing is under way at first, and waiting for it takes no time', async () => {
  const underWay = new UnderWay();
  expect(underWay.size).toBe(0);
  const seen = watch(underWay);
  await turns();
  expect(seen.over).toBe(true);
});

it('what begins after the question is counted, and not waited for', async () => {
  const underWay = new UnderWay();
  const first = underWay.begin();
  const seen = watch(underWay);
  const later = underWay.begin();
  expect(underWay.size).toBe(2);
  first.end();
  await turns();
  expect(seen.over).toBe(true);
  expect(underWay.size).toBe(1);
  const next = watch(underWay);
  await turns();
  expect(next.over).toBe(false);
  later.end();
  await turns();
  expect(next.over).toBe(true);
});

it('whoever asks, and whatever ends in which order: all that had begun is waited for, and no more', async () => {
  const step = fc.oneof(
    fc.constant('begin' as const),
    fc.constant('ask' as const),
    fc.nat({ max: 20 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const underWay = new UnderWay();
      // What a Set would hold, and for each question what it waits for.
      const begun = new Map<number, { end(): void }>();
      const asked: { readonly seen: { over: boolean }; readonly left: Set<number> }[] = [];
      let count = 0;
      for (const each of steps) {
        if (each === 'begin') begun.set((count += 1), underWay.begin());
        else if (each === 'ask') asked.push({ seen: watch(underWay), left: new Set(begun.keys()) });
        else {
          const [number, entry] = [...begun][each % Math.max(1, begun.size)] ?? [];
          if (number === undefined) continue;
          entry?.end();
          begun.delete(number);
          for (const { left } of asked) left.delete(number);
        }
        await turns();
        expect(underWay.size).toBe(begun.size);
        for (const { seen, left } of asked) expect(seen.over).toBe(left.size === 0);
      }
    }),
  );
});
