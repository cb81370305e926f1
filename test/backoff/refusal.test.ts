import { expect, it } from 'vitest';
import { cooldownKind } from '../../src/backoff/refusal.js';
import { HOUR, SECOND } from './support.js';

it.each([
  { wait: 20 * SECOND, windowMs: 5 * HOUR, kind: 'rate', why: 'a minute limit, not the window' },
  { wait: 119 * SECOND, windowMs: 5 * HOUR, kind: 'rate', why: 'just under two minutes' },
  { wait: 120 * SECOND, windowMs: 5 * HOUR, kind: 'quota', why: 'two minutes' },
  { wait: 6 * SECOND, windowMs: 60 * SECOND, kind: 'quota', why: 'a tenth of the window' },
  { wait: 5 * SECOND, windowMs: 60 * SECOND, kind: 'rate', why: 'less than a tenth' },
  { wait: null, windowMs: 5 * HOUR, kind: 'quota', why: 'no statement' },
])('a quota refusal with a wait of $wait ms is $kind: $why', ({ wait, windowMs, kind }) => {
  expect(cooldownKind({ kind: 'quota', statedWaitMs: wait }, windowMs)).toBe(kind);
});

it('leaves every other kind as the dialect read it', () => {
  for (const kind of ['acceleration', 'terminal', 'transient', 'unknown'] as const) {
    expect(cooldownKind({ kind, statedWaitMs: SECOND }, 5 * HOUR)).toBe(kind);
  }
});
