import { expect, it } from 'vitest';
import { startDemand } from '../../src/simulate/demand.js';
import { seededRandom } from '../../src/simulate/seeded-random.js';
import { VirtualTime } from '../../src/simulate/virtual-time.js';
import { world } from './worlds.js';

const SECOND = 1_000;

it('a traced request follows the one before it after the trace’s pause, however long that one took', () => {
  const asked = (atMs: number, durationMs: number) => ({
    atMs,
    durationMs,
    model: 'm',
    inputTokens: 100,
    cachedTokens: 0,
    outputTokens: 10,
  });
  // The second is sent 10 s after the first is over, and the third while the second is under way.
  const session = [asked(0, 50 * SECOND), asked(60 * SECOND, 40 * SECOND), asked(70 * SECOND, 0)];
  const time = new VirtualTime();
  const sentAt: number[] = [];
  const heldMs = 5 * SECOND;
  startDemand({
    world: { ...world().demand, trace: [session], load: 1e-9 },
    limit: () => 1,
    windowMs: 1e12,
    time,
    random: seededRandom(1, 'demand'),
    send: ({ durationMs }, _agent, done) => {
      sentAt.push(time.elapsed);
      time.after(heldMs + durationMs, done);
    },
  });
  for (let call = time.next(); call !== null && sentAt.length < 3; call = time.next()) void call();
  expect(sentAt).toEqual([0, heldMs + 60 * SECOND, 2 * heldMs + 100 * SECOND]);
});
