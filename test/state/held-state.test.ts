import { expect, it } from 'vitest';
import { SteadyClock } from '../../src/platform/clock.js';
import { HeldState } from '../../src/state/held-state.js';
import { ManualTime } from '../support/manual-time.js';

it('no revision is used twice, though what a failed write has left is not found on the disk', () => {
  const held = new HeldState(new SteadyClock(new ManualTime()));
  const stored = { id: 'x', revision: 5, savedAt: 0, lost: null, scopes: new Map() };
  const found = { stored, loss: null, recordedAt: null };
  held.adopt(found);
  expect([held.attempt(), held.attempt()]).toEqual([6, 7]);
  held.adopt(found);
  expect(held.attempt()).toBe(8);
  held.adopt({ ...found, stored: { ...stored, revision: 20 } });
  expect(held.attempt()).toBe(21);
});
