import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { Town } from '../governor/support.js';
import { FakeUpstream, messageText } from '../support/fake-upstream.js';
import { until } from '../support/until.js';
import { proxyTo } from './support.js';

describe('a large request', () => {
  it('takes no room any more while its answer lasts, and arrives as it was', async () => {
    const town = await Town.open();
    let answer!: ServerResponse;
    const upstream = await FakeUpstream.open((_request, response) => void (answer = response));
    const proxy = proxyTo(upstream.url, town);
    try {
      const [address] = await proxy.listen();
      const body = `{"model":"m","padding":"${randomBytes(400_000).toString('hex')}"}`;
      const url = `http://127.0.0.1:${address?.port}/v1/messages`;
      const asked = fetch(url, { method: 'POST', body });
      await until(() => answer !== undefined);
      expect(proxy.heldBytes).toBe(body.length);
      answer.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
      const response = await asked;
      expect(proxy.heldBytes, 'the answer has begun').toBe(0);
      expect(proxy.inFlight).toBe(1);
      answer.end(messageText({}));
      expect(await response.text()).toBe(messageText({}));
      expect(upstream.seen[0]?.body.equals(Buffer.from(body))).toBe(true);
      expect(upstream.seen[0]?.headers['content-length']).toBe(String(body.length));
    } finally {
      await proxy.close();
      await upstream.close();
    }
  });
});
