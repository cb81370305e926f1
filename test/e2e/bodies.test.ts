import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as openRequest } from 'node:http';
import zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { messageText, streamEvents, type Answer } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { send } from '../support/http-client.js';

const MIB = 1024 * 1024;
/** Several times what may stay behind as garbage. */
const UPLOAD_MIB = 256;
const SIZES = [0, 1, 65_535, 65_536, 65_537, 5_000_000];

/** In pieces of odd sizes, which are not those of any buffer on the way. */
function pieces(body: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0, size = 1; at < body.length; at += size, size = (size * 7 + 3) % 100_003) {
    parts.push(body.subarray(at, at + size));
  }
  return parts;
}

const echo =
  (framing: 'length' | 'chunked'): Answer =>
  (request, response) => {
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      ...(framing === 'length' ? { 'content-length': request.body.length } : {}),
    });
    if (framing === 'length') return void response.end(request.body);
    for (const piece of pieces(request.body)) response.write(piece);
    response.end();
  };

describe('bytes in are bytes out', () => {
  const gateway = useGateway();

  const ways = ['/v1/messages', '/v1/files'].flatMap((path) =>
    (['length', 'chunked'] as const).map((framing) => ({ path, framing })),
  );
  it.each(ways)('$framing both ways through $path', async ({ path, framing }) => {
    gateway.upstream.answer = echo(framing);
    for (const size of SIZES) {
      const body = randomBytes(size);
      const answer = await send(gateway.tidegate.proxyUrl, {
        method: 'POST',
        path,
        body: framing === 'length' ? body : pieces(body),
      });
      const { headers, body: seen } = gateway.upstream.seen.at(-1)!;
      expect(answer.status).toBe(200);
      expect(seen.equals(body), `sent ${size} bytes`).toBe(true);
      expect(answer.body.equals(body), `got ${size} bytes`).toBe(true);
      const { 'content-length': length, 'transfer-encoding': coding } = headers;
      // The length is stated wherever it is known, as that of a held body is.
      const known = framing === 'length' || path === '/v1/messages' || length !== undefined;
      expect([length, coding]).toEqual(known ? [String(size), undefined] : [undefined, 'chunked']);
    }
  });

  it('leaves a compressed request as it is', async () => {
    const body = zlib.gzipSync('{"model":"claude-test","messages":[]}');
    const headers = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
    const { proxyUrl } = gateway.tidegate;
    await send(proxyUrl, { method: 'POST', path: '/v1/messages', headers, body });
    const [seen] = gateway.upstream.seen;
    expect(seen!.headers['content-encoding']).toBe('gzip');
    expect(seen!.body.equals(body)).toBe(true);
  });
});

describe('a compressed answer', () => {
  const gateway = useGateway();

  const encoders = {
    gzip: (bytes: Buffer) => zlib.gzipSync(bytes),
    deflate: (bytes: Buffer) => zlib.deflateSync(bytes),
    br: (bytes: Buffer) => zlib.brotliCompressSync(bytes),
    // In two frames; the first holds no figure.
    zstd: (bytes: Buffer) =>
      Buffer.concat([
        zlib.zstdCompressSync(bytes.subarray(0, 10)),
        zlib.zstdCompressSync(bytes.subarray(10)),
      ]),
  };
  const kinds = Object.keys(encoders).flatMap((coding) =>
    ['application/json', 'text/event-stream'].map((type) => ({ coding, type })),
  );
  it.each(kinds)('in $coding, $type, is untouched and metered exactly', async (kind) => {
    const before = await gateway.settledUse();
    const cost = { input: 1_234, output: 567 };
    const isStream = kind.type === 'text/event-stream';
    const text = isStream ? streamEvents(cost, 2_000).join('') : messageText(cost);
    const bytes = encoders[kind.coding as keyof typeof encoders](Buffer.from(text));
    gateway.upstream.answer = (request, response) => {
      expect(request.headers['accept-encoding']).toBe('zstd, br, gzip, deflate');
      response.writeHead(200, { 'content-type': kind.type, 'content-encoding': kind.coding });
      for (const piece of pieces(bytes)) response.write(piece);
      response.end();
    };
    const answer = await send(gateway.tidegate.proxyUrl, {
      method: 'POST',
      path: '/v1/messages',
      headers: { 'accept-encoding': 'zstd, br, gzip, deflate' },
      body: Buffer.from('{"model":"claude-test"}'),
    });
    expect(answer.headers['content-encoding']).toBe(kind.coding);
    expect(answer.body.equals(bytes)).toBe(true);
    await gateway.charges(before, 1_801);
  });
});

describe('a body without end', () => {
  const gateway = useGateway();

  it('that is not metered streams through in little memory', async () => {
    let arrived = 0;
    const hash = createHash('sha256');
    gateway.upstream.speakRaw((wire) => {
      wire.forget();
      let head = true;
      wire.socket.on('data', (chunk: Buffer) => {
        const at = head ? chunk.indexOf('\r\n\r\n') + 4 : 0;
        head = false;
        arrived += chunk.length - at;
        hash.update(chunk.subarray(at));
        if (arrived === UPLOAD_MIB * MIB)
          void wire.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
    });
    const before = gateway.tidegate.rssBytes();
    let peak = before;
    const upload = openRequest(`${gateway.tidegate.proxyUrl}/v1/files`, {
      method: 'POST',
      headers: { 'content-length': UPLOAD_MIB * MIB },
    });
    const answered = once(upload, 'response');
    const sent = createHash('sha256');
    const piece = randomBytes(MIB);
    for (let count = 0; count < UPLOAD_MIB; count += 1) {
      piece.writeUInt32BE(count);
      sent.update(piece);
      if (!upload.write(Buffer.from(piece))) await once(upload, 'drain');
      peak = Math.max(peak, gateway.tidegate.rssBytes());
    }
    upload.end();
    const [response] = await answered;
    expect(response.statusCode).toBe(200);
    response.resume();
    expect(hash.digest('hex')).toBe(sent.digest('hex'));
    expect((peak - before) / MIB).toBeLessThan(128);
  });

  it('that is metered is refused by its stated length, before any of it is asked for', async () => {
    const wire = await gateway.connect();
    const head = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n';
    await wire.write(`${head}Content-Length: ${32 * MIB + 1}\r\n\r\n`);
    const answer = await wire.answer();
    expect(answer.status).toBe(413);
    expect(answer.headers.get('connection')).toBe('close');
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      type: 'error',
      error: { type: 'request_too_large' },
      request_id: answer.headers.get('tidegate-request-id'),
    });
    wire.destroy();
    expect(gateway.upstream.seen).toHaveLength(0);
  });

  it('that is metered and chunked is refused as soon as it is too long', async () => {
    const wire = await gateway.connect();
    void wire.write('POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    const chunk = Buffer.alloc(MIB + 10, 'x');
    chunk.write('100000\r\n');
    chunk.write('\r\n', MIB + 8);
    for (let count = 0; count < 33; count += 1) await wire.write(chunk);
    const answer = await wire.answer();
    expect([answer.status, answer.headers.get('connection')]).toEqual([413, 'close']);
    wire.end();
    await wire.isOver();
    expect(gateway.upstream.seen).toHaveLength(0);
  });

  it('that is exactly as long as it may be passes, more often than there is room for', async () => {
    gateway.upstream.answer = (_request, response) => void response.end();
    const body = Buffer.alloc(32 * MIB, 'x');
    const { proxyUrl } = gateway.tidegate;
    for (let count = 0; count < 9; count += 1) {
      const { status } = await send(proxyUrl, { method: 'POST', path: '/v1/messages', body });
      expect(status).toBe(200);
      expect(gateway.upstream.seen.pop()!.body.equals(body)).toBe(true);
    }
  });
});
