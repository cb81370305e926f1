import { expect, it } from 'vitest';
import type { AccessLine } from '../../src/proxy/access-log.js';
import { Town } from '../governor/support.js';
import { FakeUpstream } from '../support/fake-upstream.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';
import { proxyTo } from './support.js';

it('a client that left before its answer got none, says its line', async () => {
  const town = await Town.open();
  const upstream = await FakeUpstream.open(() => {});
  const lines: AccessLine[] = [];
  const onAccess = (line: string) => void lines.push(JSON.parse(line) as AccessLine);
  const proxy = proxyTo(upstream.url, town, undefined, { onAccess });
  try {
    const [address] = await proxy.listen();
    const wire = await Wire.open(`http://127.0.0.1:${address?.port}`);
    await wire.write('POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}');
    await until(() => upstream.seen.length === 1);
    wire.destroy();
    await until(() => lines.length === 1);
    expect(lines).toMatchObject([{ decision: 'admitted', status: 0, upstreamStatus: null }]);
  } finally {
    await proxy.close();
    await upstream.close();
  }
});
