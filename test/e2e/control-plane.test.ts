import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tidegate } from '../cli/run.js';
import { FakeUpstream, jsonMessage, refusal } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let gate: TidegateProcess;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
});

afterEach(async () => {
  await gate.kill();
  await upstream.close();
  directory.dispose();
});

async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
  gate = await TidegateProcess.start({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${directory.at('state.json')}`,
    ...env,
  });
}

it('a port of its own that is in use ends the start with one message, and 75', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  gate = TidegateProcess.spawn({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${directory.at('state.json')}`,
    TIDEGATE_ADMIN_LISTEN: `127.0.0.1:${port}`,
  });
  expect(await gate.exited).toEqual({ code: 75, signal: null });
  expect(gate.err).toContain(`127.0.0.1 port ${port} is in use`);
  expect(gate.log()).toEqual([]);
  other.close();
});

interface Health {
  readonly status: string;
  readonly details: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

async function health(path: string): Promise<{ code: number; body: Health }> {
  const response = await fetch(`${gate.controlUrl}/health/${path}`);
  return { code: response.status, body: (await response.json()) as Health };
}

const post = (path: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${gate.controlUrl}${path}`, { method: 'POST', headers });

/** The shape of a value: its keys and the types of its leaves. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== 'object' || value === null) return value === null ? null : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, shapeOf(part)]));
}

describe('GET /status', () => {
  it('has exactly the fields that are documented, and those of model pools', async () => {
    await start({ TIDEGATE_BUDGET: '1000' });
    await (await gate.call()).text();
    upstream.answer = refusal({ 'retry-after': '3000' });
    await gate.call();
    await until(async () => (await gate.scope()).calibration.samples.length === 1);
    const cooldown = {
      until: 'string',
      since: 'string',
      kind: 'string',
      episode: 'number',
      consecutive: 'number',
    };
    expect(shapeOf(await gate.status())).toEqual({
      version: 'string',
      instance: 'string',
      startedAt: 'string',
      store: { kind: 'string', id: 'string', healthy: 'boolean' },
      crashLoop: 'boolean',
      recentStarts: 'number',
      scopes: [
        {
          scope: 'string',
          state: 'string',
          blockedUntil: 'string',
          cooldown,
          limits: [
            {
              name: 'string',
              unit: 'string',
              models: null,
              cooldown: null,
              blockedUntil: null,
              window: {
                kind: 'string',
                lengthMs: 'number',
                startedAt: 'string',
                endsAt: 'string',
                observed: 'boolean',
              },
              budget: {
                initial: 'number',
                floor: 'number',
                ceiling: 'number',
                current: 'number',
                learned: null,
                source: 'string',
              },
              used: 'number',
              reserved: 'number',
              orphaned: 'number',
              remaining: 'number',
            },
          ],
          models: [],
          missingLimits: [],
          calibration: {
            accepted: 'number',
            discarded: 'number',
            samples: [{ at: 'string', tokens: 'number', accepted: 'boolean', reason: 'string' }],
          },
          upstream: { requests: 'number', refused429: 'number', overloaded: 'number' },
          local: { admitted: 'number', refused: 'number' },
        },
      ],
    });
  });

  it('shows every configured scope from the start, before any request', async () => {
    await start({ TIDEGATE_BUDGET: '1000' });
    expect(await gate.scope()).toMatchObject({
      scope: 'anthropic',
      state: 'open',
      blockedUntil: null,
      cooldown: null,
      limits: [{ used: 0, remaining: 1000, budget: { initial: 1000, floor: 300, ceiling: 2000 } }],
    });
    expect((await gate.status()).recentStarts).toBe(1);
  });

  it('is named to whoever opens the control plane in a browser, after how things stand', async () => {
    await start();
    const response = await fetch(gate.controlUrl);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await response.text()).toMatch(/^Tidegate .*\n\nanthropic: open\n\nGET  \/status/);
  });

  it('is said by a command, too: how things stand, or all figures', async () => {
    const token = 'a-token-of-sixteen-or-more';
    await start({ TIDEGATE_ADMIN_TOKEN: token });
    const env = {
      TIDEGATE_ADMIN_LISTEN: new URL(gate.controlUrl).host,
      TIDEGATE_ADMIN_TOKEN: token,
    };
    const said = await tidegate(['status'], { env });
    expect(said).toMatchObject({ code: 0, err: '' });
    expect(said.out).toMatch(/^Tidegate .*\n\nanthropic: open\n$/);
    const { out } = await tidegate(['status', '--json'], { env });
    expect(JSON.parse(out)).toMatchObject({ scopes: [{ scope: 'anthropic', state: 'open' }] });
    await gate.stop();
    expect((await tidegate(['status'], { env })).code).toBe(75);
  });

  it('keeps its counters over a restart', async () => {
    await start();
    await (await gate.call()).text();
    await until(async () => (await gate.scope()).upstream.requests === 1);
    await gate.stop();
    await start();
    expect(await gate.scope()).toMatchObject({
      upstream: { requests: 1 },
      local: { admitted: 1, refused: 0 },
    });
    expect((await gate.status()).recentStarts).toBe(2);
  });
});

describe('probes', () => {
  it('are all well in a healthy instance', async () => {
    await start();
    expect(await health('live')).toMatchObject({ code: 200, body: { status: 'ok' } });
    expect(await health('startup')).toMatchObject({ code: 200 });
    expect(await health('ready')).toMatchObject({ code: 200, body: { status: 'ok' } });
    expect(upstream.seen, 'no probe costs the upstream a request').toEqual([]);
  });

  it('tell of a cooldown, and take nobody out of service for it', async () => {
    await start();
    upstream.answer = refusal({ 'retry-after': '3000' });
    await gate.call();
    const { code, body } = await health('ready');
    expect(code).toBe(200);
    expect(body.details['scope:anthropic']).toMatchObject({
      status: 'up',
      state: 'cooldown',
      because: 'quota',
      blockedUntil: expect.stringMatching(/^20\d\d-.*Z$/),
    });
    expect((await health('live')).code).toBe(200);
  });

  it('tell of exhaustion', async () => {
    await start({ TIDEGATE_BUDGET: '100' });
    await (await gate.call()).text();
    await until(async () => (await gate.scope()).limits[0]?.used === 100);
    expect((await gate.call()).headers.get('tidegate-decision')).toBe('budget');
    const { code, body } = await health('ready');
    expect(code).toBe(200);
    expect(body.details['scope:anthropic']).toMatchObject({ state: 'exhausted' });
  });

  it('tell of a crash loop', async () => {
    for (let run = 0; run < 5; run += 1) {
      await start();
      await gate.kill();
    }
    await start();
    const { code, body } = await health('ready');
    expect(code).toBe(200);
    expect(body.status).toBe('degraded');
    expect(String(body.details['scope:anthropic']?.['warnings'])).toContain('crash loop');
    expect((await gate.status()).crashLoop).toBe(true);
    expect(gate.log()).toContainEqual(
      expect.objectContaining({ level: 'error', message: expect.stringContaining('crash loop') }),
    );
  });

  it('tell of cautious mode after a damaged state', async () => {
    await start({ TIDEGATE_BUDGET: '1000' });
    await gate.stop();
    const state = directory.at('state.json');
    writeFileSync(state, readFileSync(state, 'utf8').slice(0, 100));
    await start({ TIDEGATE_BUDGET: '1000' });
    const { code, body } = await health('ready');
    expect(code).toBe(200);
    expect(body.status).toBe('degraded');
    expect(String(body.details['scope:anthropic']?.['warnings'])).toMatch(
      /^cautious until .*: the state was (damaged|missing).*; budgets are at their floor$/,
    );
    expect(await gate.scope()).toMatchObject({
      state: 'cautious',
      limits: [{ budget: { current: 300 } }],
    });
  });

  it('ask the upstream itself only when asked to', async () => {
    await start();
    expect(await health('upstream')).toMatchObject({ code: 200 });
    expect(upstream.seen).toHaveLength(1);
    await upstream.close();
    expect(await health('upstream')).toMatchObject({ code: 503 });
    expect((await health('live')).code).toBe(200);
    expect((await health('ready')).code).toBe(200);
    upstream = await FakeUpstream.open();
  });
});

describe('the operator', () => {
  it('ends a cooldown', async () => {
    await start();
    upstream.answer = refusal({ 'retry-after': '3000' });
    await gate.call();
    upstream.answer = jsonMessage();
    expect((await gate.call()).headers.get('tidegate-decision')).toBe('cooldown');
    const cleared = await post('/cooldown/clear', { 'content-type': 'application/json' });
    expect(cleared.status).toBe(200);
    expect(await cleared.json()).toMatchObject({ scopes: [{ state: 'open', cooldown: null }] });
    expect((await gate.call()).status).toBe(200);
  });

  it('takes back a learned budget', async () => {
    await start();
    await (await gate.call()).text();
    upstream.answer = refusal({ 'retry-after': '3000' });
    await gate.call();
    await until(async () => (await gate.scope()).limits[0]?.budget.source === 'learned');
    const reset = await post('/budget/reset');
    expect(reset.status).toBe(200);
    expect((await gate.scope()).limits[0]?.budget).toMatchObject({ current: null, source: 'none' });
  });

  it('hears what is wrong with a request', async () => {
    await start();
    const response = await post('/cooldown/clear?scope=nobody');
    expect(response.status).toBe(404);
    expect(await response.text()).toContain('anthropic');
    expect((await fetch(`${gate.controlUrl}/cooldown/clear`)).status, 'GET changes nothing').toBe(
      404,
    );
  });
});

describe('a stranger', () => {
  it('on another page can change nothing, and read nothing by DNS rebinding', async () => {
    await start();
    for (const origin of ['https://evil.example', 'null']) {
      expect((await post('/cooldown/clear', { origin })).status).toBe(403);
    }
    const { hostname, port } = new URL(gate.controlUrl);
    const rebound = await rawGet(hostname, Number(port), '/status', 'evil.example');
    expect(rebound).toMatch(/^HTTP\/1.1 403 /);
    const own = new URL(gate.controlUrl).origin;
    expect((await post('/cooldown/clear', { origin: own })).status).toBe(200);
  });

  it('has no second Host to be read by somebody else, wherever it goes', async () => {
    await start();
    const own = new URL(gate.controlUrl).host;
    for (const path of ['/status', '/health/live', '/metrics', '/nowhere']) {
      for (const hosts of [[own, 'evil.example'], ['evil.example', own], [own, own], []]) {
        const wire = await Wire.open(gate.controlUrl);
        const lines = hosts.map((host) => `Host: ${host}\r\n`).join('');
        await wire.write(`GET ${path} HTTP/1.1\r\n${lines}\r\n`);
        const { status } = await wire.answer();
        expect(status, `${path}: ${hosts}`).toBe(400);
        await wire.isOver();
        wire.destroy();
      }
    }
  });

  it('names no other host in its target either', async () => {
    await start();
    for (const target of ['http://evil.example/status', `${gate.controlUrl}/status`, '*']) {
      const wire = await Wire.open(gate.controlUrl);
      await wire.write(`OPTIONS ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect((await wire.answer()).status, target).toBe(400);
      await wire.isOver();
      wire.destroy();
    }
  });

  it('on another page is told by its browser also where that names no origin', async () => {
    await start();
    const from = async (site: string, method = 'POST') => {
      const path = method === 'POST' ? '/cooldown/clear' : '/status';
      const headers = ['host: localhost', `sec-fetch-site: ${site}`, 'content-length: 0'];
      const wire = await Wire.open(gate.controlUrl);
      await wire.write(`${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
      const { status } = await wire.answer();
      wire.destroy();
      return status;
    };
    // Another port of this host is another origin of the same site.
    expect([await from('cross-site'), await from('same-site'), await from('unheard-of')]).toEqual([
      403, 403, 403,
    ]);
    expect([await from('same-origin'), await from('none')]).toEqual([200, 200]);
    expect(await from('cross-site', 'GET'), 'looking changes nothing').toBe(200);
    expect((await post('/cooldown/clear')).status, 'no browser').toBe(200);
  });

  it('needs the token, where there is one', async () => {
    const token = 'a-token-of-some-length';
    await start({ TIDEGATE_ADMIN_TOKEN: token });
    const status = (headers: Readonly<Record<string, string>>) =>
      fetch(`${gate.controlUrl}/status`, { headers }).then((response) => response.status);
    expect(await status({})).toBe(401);
    expect(await status({ authorization: 'Bearer wrong' })).toBe(401);
    expect(await status({ authorization: `Basic ${token}` })).toBe(401);
    expect(await status({ authorization: `Bearer ${token}` })).toBe(200);
    expect(await status({ authorization: `bearer ${token}` }), 'no case').toBe(200);
    const refused = await post('/budget/reset');
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      401,
      'Bearer realm="tidegate"',
    ]);
    expect((await health('ready')).code, 'probes carry none').toBe(200);
    expect(gate.out + gate.err).not.toContain(token);
  });

  it('can’t reach the control plane by way of the data port', async () => {
    await start();
    for (const path of ['/status', '/health/ready', '/cooldown/clear']) {
      await fetch(`${gate.proxyUrl}${path}`);
    }
    expect(upstream.seen.map(({ url }) => url)).toEqual([
      '/status',
      '/health/ready',
      '/cooldown/clear',
    ]);
  });
});

describe('the scheduled job', () => {
  it('ends windows that nobody touches, and raises a budget that was in the way', async () => {
    await start({
      TIDEGATE_BUDGET: '1000',
      TIDEGATE_WINDOW: '2s',
      TIDEGATE_TICK: '50ms',
      TIDEGATE_NUDGE_EVERY: '1s',
      TIDEGATE_MIN_TRAFFIC: '1s',
    });
    for (let call = 0; call < 10; call += 1) await (await gate.call()).text();
    expect((await gate.call()).headers.get('tidegate-decision')).toBe('budget');
    await until(async () => (await gate.scope()).limits[0]?.budget.current === 1030);
    await until(() =>
      gate.log().some(({ message, used }) => message === 'window ended' && used === 1000),
    );
    expect((await gate.scope()).limits[0]).toMatchObject({ used: 0, window: { startedAt: null } });
  });
});

/** A request whose Host is not where it goes. */
async function rawGet(host: string, port: number, path: string, name: string): Promise<string> {
  const { connect } = await import('node:net');
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
    });
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    socket.on('end', () => resolve(text)).on('error', reject);
  });
}
