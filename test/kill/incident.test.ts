import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { FakeUpstream, messageText, refusal } from '../support/fake-upstream.js';
import { freePort, isOpen } from '../support/free-port.js';
import { type OwnState, STORES, type StoreUnderTest } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/**
 * The incident that Tidegate exists for, with time scaled down: the upstream's window is spent, a
 * dozen agents go on asking, and the process is killed 17 times.
 * Goal: the kills cost at most one 429 more than the same evening without them.
 * Control: the same with a state that is forgotten at every restart must storm.
 */
const KILLS = 17;
const AGENTS = 6;
/** An agent asks again this soon after a refusal, whatever it was told. */
const IMPATIENCE_MS = 40;
/** From one restart to the next kill, in turn: while the control plane loads, and once it is there. */
const UPTIMES_MS = [0, 20, 60, 150];
/** The upstream refuses for this long: longer than the evening. */
const SPENT_MS = 600_000;

interface Evening {
  readonly refused: number;
  readonly asked: number;
  readonly restarts: number;
}

interface Plan {
  readonly kills: number;
  readonly remembers: boolean;
  readonly store: StoreUnderTest;
}

async function spend(plan: Plan): Promise<Evening> {
  const states: OwnState[] = [];
  const port = await freePort();
  const begin = performance.now();
  let refused = 0;
  const upstream = await FakeUpstream.open((request, response) => {
    const left = SPENT_MS - (performance.now() - begin);
    if (left <= 0) return void response.end(messageText({}));
    refused += 1;
    return refusal({ 'retry-after': String(Math.ceil(left / 1000)) })(request, response);
  });
  const start = async () => {
    if (states.length === 0 || !plan.remembers) states.push(await plan.store.make());
    const started = TidegateProcess.spawn({
      TIDEGATE_UPSTREAM: upstream.url,
      TIDEGATE_STATE: states.at(-1)!.address,
      TIDEGATE_LISTEN: `127.0.0.1:${port}`,
    });
    started.proxyUrl = `http://127.0.0.1:${port}`;
    // The data port is all that agents need; the control plane is still loading when the kill comes.
    await until(
      () => isOpen(port),
      30_000,
      () => started.err,
    );
    return started;
  };
  let gate = await start();
  const evening = { over: false, asked: 0, answered: 0 };
  const agent = async () => {
    while (!evening.over) {
      evening.asked += 1;
      await gate.call().then(
        (response) => response.text().then(() => (evening.answered += 1)),
        () => {},
      );
      await sleep(IMPATIENCE_MS);
    }
  };
  // One alone runs into the spent window: how many were on their way with it would be luck.
  await gate.call().then((response) => response.text());
  const agents = Array.from({ length: AGENTS }, agent);
  let restarts = 0;
  while (restarts < plan.kills) {
    const { answered } = evening;
    await sleep(UPTIMES_MS[restarts % UPTIMES_MS.length]);
    // On a busy machine the first refusal may take longer than that.
    await until(() => evening.answered > answered, 30_000);
    await gate.kill();
    gate = await start();
    restarts += 1;
  }
  await sleep(Math.max(...UPTIMES_MS));
  evening.over = true;
  await Promise.all(agents);
  await gate.kill();
  await upstream.close();
  for (const state of states) await state.dispose();
  return { refused, asked: evening.asked, restarts };
}

it.each(STORES)(
  '17 kills cost the upstream at most one 429 more than none: $kind',
  { timeout: 120_000 },
  async (store) => {
    const [quiet, killed] = await Promise.all([
      spend({ kills: 0, remembers: true, store }),
      spend({ kills: KILLS, remembers: true, store }),
    ]);
    expect(killed.restarts).toBe(KILLS);
    expect(killed.asked, 'the agents kept asking').toBeGreaterThan(KILLS * AGENTS);
    expect(quiet.refused).toBe(1);
    expect(killed.refused).toBeLessThanOrEqual(quiet.refused + 1);
  },
);

it('control: without memory every restart storms', { timeout: 120_000 }, async () => {
  const amnesic = await spend({ kills: KILLS, remembers: false, store: STORES[0]! });
  expect(amnesic.refused).toBeGreaterThanOrEqual(KILLS);
});
