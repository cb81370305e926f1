import { describe, expect, it } from 'vitest';
import { FaultyRepository } from './faulty-repository.js';
import { SCOPE, SECOND, Town } from './support.js';

describe('the organizations of credentials, while the state can’t be written,', () => {
  it('are written by one write at most, however many answers tell them', async () => {
    let store!: FaultyRepository;
    const town = await Town.open({ wrap: (inner) => (store = new FaultyRepository(inner)) });
    const keys = town.governor.keysOf(SCOPE);
    store.fault = 'unavailable';
    const waiting = town.time.pending;
    const attempts = () =>
      town.governor.updateTally.failures.read().reduce((sum, { count }) => sum + count, 0);
    const told: Promise<void>[] = [];
    for (let answer = 0; answer < 1_000; answer += 1) {
      told.push(keys.learn(`key-${answer % 3}`, 'org'), keys.learn('moved', `org-${answer % 2}`));
      if (answer % 100 === 0) await town.pass(0);
    }
    await town.pass(0);
    expect(town.time.pending - waiting).toBe(1);
    const before = attempts();
    await town.pass(SECOND);
    expect(attempts() - before).toBeLessThanOrEqual(4);
    store.mend();
    await town.pass(SECOND);
    await Promise.all(told);
    for (const key of ['key-0', 'key-1', 'key-2']) expect(keys.organizationOf(key)).toBe('org');
    expect(keys.organizationOf('moved'), 'the latest').toBe('org-1');
    expect(town.time.pending).toBe(waiting);
  });

  it('are given up when the state closes', async () => {
    let store!: FaultyRepository;
    const town = await Town.open({ wrap: (inner) => (store = new FaultyRepository(inner)) });
    store.fault = 'unavailable';
    const told = town.governor.keysOf(SCOPE).learn('key', 'org');
    await town.pass(SECOND);
    store.mend();
    await town.repository.close();
    await town.pass(SECOND);
    await told;
    expect(town.time.pending).toBe(0);
  });
});
