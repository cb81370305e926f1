import { expect, it } from 'vitest';
import { History } from '../../src/history/history.js';
import { Town } from '../governor/support.js';
import { MemoryEventJournal } from '../support/memory-journal.js';

/** A journal that can't be used once it is closed, and drops nothing before it is told to. */
class ClosingJournal extends MemoryEventJournal {
  closed = false;
  release: () => void = () => {};
  prunes = 0;

  override async prune(): Promise<void> {
    this.prunes += 1;
    await new Promise<void>((resolve) => (this.release = resolve));
    if (this.closed) throw new Error('closed');
  }

  override get problem(): string | null {
    return this.closed ? 'closed' : null;
  }

  override async close(): Promise<void> {
    this.closed = true;
  }
}

it('closes its journal after the upkeep under way, and begins none after that', async () => {
  const town = await Town.open();
  const journal = new ClosingJournal();
  const problems: (string | null)[] = [];
  const history = new History({
    repository: town.repository,
    journal,
    scopes: [],
    timers: town.time,
    onProblem: (problem) => problems.push(problem),
  });
  const now = town.time.wall();
  const kept = history.upkeep(now);
  await expect.poll(() => journal.prunes).toBe(1);
  expect(history.upkeep(now), 'one at a time').toBe(kept);
  const closed = history.close();
  const early = await Promise.race([closed, town.pass(0).then(() => 'waits')]);
  expect([early, journal.closed]).toEqual(['waits', false]);
  journal.release();
  await Promise.all([kept, closed]);
  expect(journal.closed).toBe(true);
  await history.upkeep(now);
  expect([journal.prunes, problems]).toEqual([1, []]);
});
