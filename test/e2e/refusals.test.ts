import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeUpstream, jsonMessage, refusal } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess, until } from '../support/tidegate-process.js';

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let tidegate: TidegateProcess | null = null;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open();
});

afterEach(async () => {
  await tidegate?.kill();
  tidegate = null;
  await upstream.close();
  directory.dispose();
});

async function start(env: Readonly<Record<string, string>> = {}): Promise<TidegateProcess> {
  tidegate = await TidegateProcess.start({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${directory.at('state.json')}`,
    ...env,
  });
  return tidegate;
}

const usedOf = async (gate: TidegateProcess) => (await gate.scope()).limits[0]?.used;

describe('metering', () => {
  it('charges what the answer says, in JSON', async () => {
    upstream.answer = jsonMessage({ input: 100, output: 20 });
    const gate = await start();
    const response = await gate.call();
    expect(response.status).toBe(200);
    await response.json();
    await until(async () => (await usedOf(gate)) === 120);
    expect((await gate.scope()).limits[0]).toMatchObject({ reserved: 0, orphaned: 0 });
  });
});

describe('a local refusal', () => {
  it('of a cooldown says everything that design §4 promises', async () => {
    const gate = await start();
    upstream.answer = refusal({ 'retry-after': '30' });
    const refused = await gate.call();
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('30');
    expect(refused.headers.get('tidegate-decision'), 'relayed as it came').toBeNull();
    const local = await gate.call();
    expect(local.status).toBe(429);
    const wait = Number(local.headers.get('retry-after'));
    expect(wait).toBeGreaterThan(27);
    expect(wait).toBeLessThanOrEqual(33);
    expect(local.headers.get('tidegate-decision')).toBe('cooldown');
    expect(local.headers.get('x-should-retry')).toBe('true');
    const until = Date.parse(local.headers.get('tidegate-blocked-until') ?? '');
    expect(until - Date.now()).toBeGreaterThan(27_000);
    const body = (await local.json()) as { request_id: string };
    expect(body).toMatchObject({ type: 'error', error: { type: 'rate_limit_error' } });
    expect(body.request_id).toBe(local.headers.get('tidegate-request-id'));
    expect(upstream.seen).toHaveLength(1);
    expect(await gate.scope()).toMatchObject({
      state: 'cooldown',
      upstream: { requests: 1, refused429: 1 },
    });
  });
});
