import { afterEach, beforeEach, expect, it } from 'vitest';
import { STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { Gateway } from '../support/gateway.js';
import { PostgresStore } from '../support/postgres-store.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

let store: PostgresStore;
let proxy: TcpProxy;
const gateway = new Gateway();

beforeEach(async () => {
  store = await PostgresStore.create();
  proxy = await TcpProxy.open(store.url);
});

afterEach(async () => {
  await gateway.close();
  await proxy.close();
  await store.dispose();
});

it('a stop ends in its time where the database swallows everything, and the charge stands', async () => {
  const DRAIN_MS = 300;
  await gateway.open({
    TIDEGATE_STATE: proxy.through(store.url),
    TIDEGATE_DRAIN: `${DRAIN_MS}ms`,
  });
  const [start] = streamEvents({ input: 1_000, output: 50 });
  gateway.upstream.answer = (_request, response) => {
    response.writeHead(200, STREAM_HEADERS).write(start);
  };
  const stream = await gateway.tidegate.call({ stream: true });
  // What message_start states is on record, so that the stream's settlement is all that is outstanding.
  await until(async () => (await gateway.limit()).used >= 1_000);

  proxy.blackhole();
  const asked = performance.now();
  expect(await gateway.tidegate.stop()).toEqual({ code: null, signal: 'SIGKILL' });
  // AFTER_DRAIN_MS in data-plane.ts, less AHEAD_MS in serve.ts.
  expect(performance.now() - asked).toBeLessThan(DRAIN_MS + 14_000);
  await expect(stream.text()).rejects.toThrow();
  const late = expect.stringContaining('record of the stop');
  expect(gateway.tidegate.log().filter(({ level }) => level === 'error')).toMatchObject([
    { message: 'the store cannot be used: nothing is forwarded' },
    { message: 'the stop is not clean: its time was over', late },
  ]);

  // What the next start finds: the charge in flight, and no stop.
  const other = await store.open();
  const [scope] = await other.list();
  const { hot } = (await other.read(scope!)).state;
  const [limit] = Object.values(hot.limits);
  expect(limit!.used).toBeGreaterThanOrEqual(1_000);
  expect(limit!.unsettled).toEqual({ test: limit!.used });
  expect(hot.instances['test']).toMatchObject({ stoppedAt: null, inFlight: 1 });
});
