import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  FakeUpstream,
  jsonMessage,
  refusal,
  STREAM_HEADERS,
  streamEvents,
} from '../support/fake-upstream.js';
import { type OwnState, STORES } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/**
 * Goal: whatever moment the process is killed at, the durable charge is never below what the upstream
 * saw, and no request reaches the upstream in a cooldown.
 * Method: a real process, SIGKILL at an exact point (kill-at.mjs), a restart on the same files, and an
 * upstream that counts. Every call costs the same, so after a few of them estimates are exact.
 * Control: the same on a state that is thrown away with the process must break both.
 */
const KILL_AT = fileURLToPath(new URL('../support/kill-at.mjs', import.meta.url));
const COST = 500;

describe.each(STORES)('on the $kind store', ({ writePoints, make }) => {
  let state: OwnState;
  let upstream: FakeUpstream;
  let gate: TidegateProcess;
  /** What the upstream has charged: input at the start, so every answer it began counts. */
  let charged: number;

  beforeEach(async () => {
    state = await make();
    upstream = await FakeUpstream.open(charging(jsonMessage({ input: 300, output: 200 })));
    charged = 0;
  });

  afterEach(async () => {
    await gate.kill();
    await upstream.close();
    await state.dispose();
  });

  function charging(answer: FakeUpstream['answer']): FakeUpstream['answer'] {
    return (request, response) => {
      charged += COST;
      return answer(request, response);
    };
  }

  async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    gate = await TidegateProcess.start({
      TIDEGATE_UPSTREAM: upstream.url,
      TIDEGATE_STATE: state.address,
      TIDEGATE_BUDGET: '1000000',
      NODE_OPTIONS: `--import=${KILL_AT}`,
      ...env,
    });
  }

  /** Calls until estimates are exact; then the next one is a call of known cost. */
  async function warmUp(): Promise<void> {
    for (let call = 0; call < 3; call += 1) await (await gate.call()).text();
    await until(async () => (await limit()).reserved === 0);
    expect((await limit()).used).toBe(3 * COST);
  }

  async function limit() {
    const { limits } = await gate.scope();
    return limits[0]!;
  }

  /** A call that ends the process at `point`; the client sees its connection break. */
  async function callAndDie(point: string): Promise<void> {
    await callOnce(point);
    await expectDeath(point);
  }

  async function callOnce(point: string): Promise<void> {
    const headers = { 'content-type': 'application/json', 'x-kill-at': point };
    await gate.call({}, { headers }).then(
      (response) => response.text().catch(() => {}),
      () => {},
    );
  }

  async function expectDeath(point: string): Promise<void> {
    expect(await gate.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(gate.err).toContain(`killed at ${point}`);
  }

  describe('killed while a call is under way', () => {
    it('before the charge is durable: nothing was forwarded, nothing is charged', async () => {
      await start();
      await warmUp();
      await callAndDie('before the charge is durable');
      expect(upstream.seen).toHaveLength(3);
      await start();
      expect(await limit()).toMatchObject({ used: 3 * COST, orphaned: 0, reserved: 0 });
    });

    it('after it, before forwarding: the charge stands, though the upstream never saw the call', async () => {
      await start();
      await warmUp();
      await callAndDie('before the charge is forwarded');
      expect(upstream.seen).toHaveLength(3);
      await start();
      expect(await limit()).toMatchObject({ used: 4 * COST, orphaned: COST, reserved: 0 });
    });

    it('after the upstream answered, before anything was relayed: the charge stands', async () => {
      await start();
      await warmUp();
      await callAndDie('before anything is relayed');
      expect(charged).toBe(4 * COST);
      await start();
      expect(await limit()).toMatchObject({ used: charged, orphaned: COST });
    });

    it('in mid-stream: the charge stands', async () => {
      await start();
      await warmUp();
      upstream.answer = charging((_request, response) => {
        response.writeHead(200, STREAM_HEADERS);
        for (const event of streamEvents({ input: 300, output: 200 }).slice(0, 4)) {
          response.write(event);
        }
      });
      const response = await gate.call();
      await response.body!.getReader().read();
      await gate.kill();
      await start();
      expect(await limit()).toMatchObject({ used: charged, orphaned: COST });
    });

    it('after the stream, before its settlement is durable: the charge stands', async () => {
      await start();
      await warmUp();
      await callAndDie('before the settlement is durable');
      await start();
      expect(charged).toBe(4 * COST);
      expect(await limit()).toMatchObject({ used: charged, orphaned: COST });
    });
  });

  describe('killed around a refusal', () => {
    beforeEach(async () => {
      await start();
      await warmUp();
      upstream.answer = refusal({ 'retry-after': '3000' });
    });

    it('before the cooldown is durable: the client has not heard of it, and one more call finds out', async () => {
      await callAndDie('before the cooldown is durable');
      await start();
      expect((await gate.call()).status).toBe(429);
      expect((await gate.call()).headers.get('tidegate-decision')).toBe('cooldown');
      expect(upstream.seen).toHaveLength(5);
    });

    it('after it, before the client hears of it: nothing more reaches the upstream', async () => {
      await callAndDie('before the client hears of it');
      await start();
      for (let call = 0; call < 5; call += 1) {
        expect((await gate.call()).headers.get('tidegate-decision')).toBe('cooldown');
      }
      expect(upstream.seen).toHaveLength(4);
    });
  });

  describe('killed while the probe is out', () => {
    it('keeps its place for its 10 s: however often it is restarted, no second probe follows', async () => {
      await start({ TIDEGATE_BACKOFF: '100ms' });
      upstream.answer = refusal();
      await gate.call();
      upstream.answer = () => {};
      await until(async () => (await gate.scope()).state === 'half-open');
      void gate.call().catch(() => {});
      await until(() => upstream.seen.length === 2);
      for (let restart = 0; restart < 3; restart += 1) {
        await gate.kill();
        await start({ TIDEGATE_BACKOFF: '100ms' });
        const refused = await gate.call();
        expect(refused.headers.get('tidegate-decision')).toBe('probing');
        expect(refused.headers.get('retry-after')).toBe('1');
      }
      expect(upstream.seen).toHaveLength(2);
    });
  });

  describe('killed while the state is written', () => {
    it.each(writePoints)('%s: nothing is lost', async (point) => {
      await start();
      await warmUp();
      // The file store writes state.json within a second of a call, beside others.
      do await callOnce(point);
      while (gate.child.exitCode === null && gate.child.signalCode === null);
      await expectDeath(point);
      await start();
      const { used, window } = await limit();
      expect(used).toBeGreaterThanOrEqual(charged);
      expect(window.observed, 'the files were whole').toBe(true);
      expect((await gate.scope()).state).toBe('open');
    });

    it('in a clean stop: the run counts as unclean, and nothing is lost', async () => {
      await start({ KILL_AT: 'in a clean stop' });
      await warmUp();
      const response = await gate.call();
      await response.text();
      gate.child.kill('SIGTERM');
      expect(await gate.exited).toMatchObject({ signal: 'SIGKILL' });
      expect(gate.err).toContain('killed at in a clean stop');
      await start();
      expect((await limit()).used).toBe(charged);
      expect(gate.log()).toContainEqual(
        expect.objectContaining({ message: 'the run before this one did not stop cleanly' }),
      );
    });
  });

  describe('control: a state that is thrown away with the process', () => {
    it('counts less than the upstream saw', async () => {
      await start();
      await warmUp();
      await callAndDie('before anything is relayed');
      await state.forget();
      await start();
      expect((await limit()).used).toBeLessThan(charged);
    });

    it('lets a call through into the cooldown', async () => {
      await start();
      upstream.answer = refusal({ 'retry-after': '3000' });
      await callAndDie('before the client hears of it');
      await state.forget();
      await start();
      await gate.call();
      expect(upstream.seen).toHaveLength(2);
    });
  });
});
