import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../support/fake-upstream.js';
import { useGateway, type Gateway } from '../support/gateway.js';

const answerWith =
  (body: string, type = 'application/json'): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-type': type }).end(body);
  };

function call(gateway: Gateway, path: string, body = '{"query":"tides"}', method = 'POST') {
  return fetch(gateway.tidegate.proxyUrl + path, { method, body: method === 'GET' ? null : body });
}

describe('a generic API of which nothing is known', () => {
  const gateway = useGateway({ TIDEGATE_DIALECT: 'generic', TIDEGATE_BUDGET: '3' });

  it('is governed by the requests of its window', async () => {
    gateway.upstream.answer = answerWith('{"hits":[]}');
    const statuses: number[] = [];
    for (const path of ['/a', '/b', '/c']) statuses.push((await call(gateway, path)).status);
    expect(statuses).toEqual([200, 200, 200]);
    const refused = await call(gateway, '/d');
    expect(refused.status).toBe(429);
    expect(refused.headers.get('tidegate-decision')).toBe('budget');
    expect(await refused.json()).toEqual({
      error: 'rate-limited',
      message: expect.stringContaining('budget of this window'),
      requestId: refused.headers.get('x-request-id'),
    });
    // Nothing is spent by what has no body.
    expect((await call(gateway, '/d', '', 'GET')).status).toBe(200);
    expect(gateway.upstream.seen).toHaveLength(4);
    expect(await gateway.limit()).toMatchObject({ name: 'requests', used: 3 });
  });
});

describe('a generic API that states its tokens', () => {
  const gateway: Gateway = useGateway(() => {
    const path = gateway.directory.at('tidegate.yaml');
    const lines = `
upstreams:
  - url: http://127.0.0.1:1
    dialect: generic
    meteredPaths: [/v1/*/run]
    inputTokensAt: meta.units.in
    outputTokensAt: meta.units.out
    limits: [{unit: tokens, window: 1h, budget: 100000}]
`;
    writeFileSync(path, lines);
    return { TIDEGATE_CONFIG: path };
  });
  const run = () => call(gateway, '/v1/tide/run').then((response) => response.text());

  it('is charged what it states, in JSON and in events', async () => {
    let before = await gateway.settledUse();
    gateway.upstream.answer = answerWith('{"meta":{"units":{"in":30,"out":4}}}');
    await run();
    await gateway.charges(before, 34);
    before += 34;
    const events = 'data: {"step":1}\n\ndata: {"meta":{"units":{"in":5,"out":6}}}\n\n';
    gateway.upstream.answer = answerWith(events, 'text/event-stream');
    expect(await run()).toBe(events);
    await gateway.charges(before, 11);
  });

  it('is charged the estimate where it states nothing: unknown is not zero', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = answerWith('{"result":"none"}');
    await run();
    expect((await gateway.settledUse()) - before).toBeGreaterThan(1);
  });

  it('is charged nothing on other paths', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = answerWith('{"meta":{"units":{"in":30,"out":4}}}');
    await call(gateway, '/v1/tide/status');
    expect(await gateway.settledUse()).toBe(before);
  });
});
