import { expect, it } from 'vitest';
import { Counts } from '../../src/platform/counts.js';

it('has every pair from the start', () => {
  const counts = new Counts(['a', 'b'], ['won', 'lost']);
  counts.add('b', 'lost');
  counts.add('b', 'lost');
  expect(counts.read()).toEqual([
    { owner: 'a', kind: 'won', count: 0 },
    { owner: 'a', kind: 'lost', count: 0 },
    { owner: 'b', kind: 'won', count: 0 },
    { owner: 'b', kind: 'lost', count: 2 },
  ]);
});

it('counts what is in neither set as other, so that no name from outside makes a series', () => {
  const counts = new Counts<string>(['a'], ['won']);
  for (const name of ['x', 'constructor', '__proto__', 'other', '']) {
    counts.add('a', name);
    counts.add(name, 'won');
    counts.add(name, name);
  }
  expect(counts.read()).toEqual([
    { owner: 'a', kind: 'won', count: 0 },
    { owner: 'a', kind: 'other', count: 5 },
    { owner: 'other', kind: 'won', count: 5 },
    { owner: 'other', kind: 'other', count: 5 },
  ]);
});
