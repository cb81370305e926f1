import type { ServerResponse } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { jsonMessage, STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { Gateway, useGateway } from '../support/gateway.js';
import { expectLocalAnswer } from '../support/local-answer.js';
import { until } from '../support/until.js';
import type { Wire } from '../support/wire.js';

const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
const LARGE_CALL = `POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 20002\r\n\r\n"${'x'.repeat(20_000)}"`;
const GET = 'GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\n';

describe('an answer that breaks off', () => {
  const gateway = useGateway();

  const heads = {
    length: `${OK}Content-Length: 100\r\n\r\nhalf of it`,
    chunked: `${OK}Transfer-Encoding: chunked\r\n\r\na\r\nhalf of it\r\n`,
    'chunked, to close': `${OK}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf of it\r\n`,
    'a broken chunk': `${OK}Transfer-Encoding: chunked\r\n\r\na\r\nhalf of it\r\nno size\r\n`,
  };
  const breaks: Record<string, (wire: Wire) => void> = {
    closed: (wire) => wire.end(),
    reset: (wire) => wire.reset(),
  };
  const cases = Object.keys(heads).flatMap((head) =>
    Object.keys(breaks).flatMap((end) => [CALL, GET].map((request) => ({ head, end, request }))),
  );

  it.each(cases)('is a cut for the client: $head, $end', async ({ head, end, request }) => {
    gateway.upstream.sayRaw(heads[head as keyof typeof heads], async (upstream) => {
      await client.says('half of it');
      breaks[end]!(upstream);
    });
    const client = await gateway.connect();
    await client.write(request);
    await client.isOver();
    expect(client.text).toMatch(/half of it(\r\n)?$/);
    await expect(client.answer(), 'no clean end').rejects.toThrow('no whole answer');
  });

  const openEnded = ['HTTP/1.1', 'HTTP/1.0'].flatMap((version) =>
    [CALL, GET, 'GET / HTTP/1.0\r\n\r\n'].map((request) => ({ version, request })),
  );

  it.each(openEnded)(
    'and that ends with its connection ends as that did: $version',
    async ({ version, request }) => {
      for (const [end, error] of [
        ['end', null],
        ['reset', 'ECONNRESET'],
      ] as const) {
        gateway.upstream.sayRaw(`${version} 200 OK\r\n\r\nhalf of it`, async (upstream) => {
          await client.says('half of it');
          upstream[end]();
        });
        const client = await gateway.connect();
        await client.write(request);
        const answer = await client.answer();
        expect([answer.framing, answer.body.toString()]).toEqual(['close', 'half of it']);
        expect(answer.headers.get('connection')).toBe('close');
        expect([client.ended, client.error]).toEqual([error === null, error]);
      }
    },
  );

  it('waits for its turn where it is not the first on its connection', async () => {
    const first: ServerResponse[] = [];
    gateway.upstream.answer = ({ url }, response) => {
      if (url === '/first') return void first.push(response);
      response.writeHead(200, { 'content-length': 100 }).write('half of it');
      setImmediate(() => response.socket?.resetAndDestroy());
    };
    const client = await gateway.connect();
    await client.write(
      'GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n',
    );
    await until(() => gateway.upstream.aborted === 1 && first.length === 1);
    // Answered only after the reset has come.
    await gateway.tidegate.status();
    first[0]!.end('whole');
    await client.isOver();
    expect((await client.answer()).body.toString()).toBe('whole');
    expect(client.rest).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nhalf of it$/);
    expect([client.ended, client.error]).toEqual([true, null]);
  });

  it('is the last on its connection where that is its end, whatever is asked there', async () => {
    const open: ServerResponse[] = [];
    gateway.upstream.answer = (request, response) => {
      if (request.url !== '/v1/models') return jsonMessage()(request, response);
      response.useChunkedEncodingByDefault = false;
      response.shouldKeepAlive = false;
      open.push(response.writeHead(200));
      response.write('half of it');
    };
    const client = await gateway.connect();
    await client.write(GET);
    await client.says('half of it');
    await client.write(CALL);
    // What was asked before it would be with the upstream before it, too.
    expect((await gateway.exchange(CALL)).status).toBe(200);
    open[0]!.end();
    await client.isOver();
    expect(client.text).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nhalf of it$/);
    expect(gateway.upstream.seen).toHaveLength(2);
    client.destroy();
  });

  it('is a reset for HTTP/1.0, to which a close would be a clean end', async () => {
    gateway.upstream.sayRaw(heads.chunked, async (upstream) => {
      await client.says('half of it');
      upstream.end();
    });
    const client = await gateway.connect();
    await client.write('GET / HTTP/1.0\r\n\r\n');
    await client.isOver();
    await until(() => client.error === 'ECONNRESET');
  });

  it('is paid for as far as it came', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS);
      response.write(streamEvents({ input: 1_000 }, 3).slice(0, 5).join(''));
      setImmediate(() => response.destroy());
    };
    const client = await gateway.connect();
    await client.write(CALL);
    await client.isOver();
    await gateway.charges(before, 1_000 + 5);
  });
});

describe('an upstream that gives no answer', () => {
  const gateway = useGateway();

  const length = 'Content-Length: 2\r\n';
  it.each([
    ['closes', ''],
    ['is no HTTP server', '\x16\x03\x01\x02 TLS?'],
    ['has a header with a NUL', `${OK}X: a\0b\r\n${length}\r\nhi`],
    ['has a header without a name', `${OK}: b\r\n${length}\r\nhi`],
    ['folds a header', `${OK}X: a\r\n b\r\n${length}\r\nhi`],
    ['ends lines without CR', `HTTP/1.1 200 OK\nContent-Length: 2\n\nhi`],
    ['has two lengths', `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi`],
    ['has a length and chunks', `${OK}${length}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['has another transfer coding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['has a status below 100', `HTTP/1.1 099 No\r\n${length}\r\nhi`],
    ['has endless headers', `${OK}X: ${'x'.repeat(70_000)}\r\n${length}\r\nhi`],
    ['says 100 that nobody waits for', `HTTP/1.1 100 Continue\r\n\r\n${OK}${length}\r\nhi`],
    ['says 103 and nothing else', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'],
    ['switches protocols', 'HTTP/1.1 101 Ok\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi'],
  ])('gets its client a 502: it %s', async (_what, bytes) => {
    gateway.upstream.sayRaw(bytes, (wire) => wire.end());
    const client = await gateway.connect();
    for (const request of [GET, CALL]) {
      await client.write(request);
      const answer = await client.answer();
      expectLocalAnswer(answer, 502, 'api_error');
      expect(answer.reason).toBe('Bad Gateway');
    }
    gateway.upstream.speakRaw(null);
    await client.write(GET);
    expect((await client.answer()).status, 'the connection goes on').toBe(200);
    client.destroy();
  });

  it('because it reset the connection gets its client a 502, and keeps the estimate', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.speakRaw((wire) => wire.socket.once('data', () => wire.reset()));
    expectLocalAnswer(await gateway.exchange(CALL), 502, 'api_error');
    expect(await gateway.settledUse()).toBeGreaterThan(before);
  });

  it.each(['100 Continue', '103 Early Hints'])(
    'but %s gets its client a 502, and keeps the estimate',
    async (informational) => {
      const before = await gateway.settledUse();
      gateway.upstream.sayRaw(`HTTP/1.1 ${informational}\r\n\r\n`, (wire) => wire.end());
      expectLocalAnswer(await gateway.exchange(CALL), 502, 'api_error');
      expect(await gateway.settledUse()).toBeGreaterThan(before);
    },
  );

  it('has what it says beyond its answer thrown away', async () => {
    const smuggled = `${OK}Content-Length: 6\r\n\r\nmallet`;
    gateway.upstream.sayRaw(`${OK}Content-Length: 2\r\n\r\nhi${smuggled}`);
    const client = await gateway.connect();
    for (let count = 0; count < 3; count += 1) {
      await client.write(GET);
      expect((await client.answer()).body.toString()).toBe('hi');
    }
    client.destroy();
  });
});

describe('an upstream that answers before it has read the request', () => {
  const gateway = useGateway();

  it('is heard at once, and the rest of the upload goes nowhere', async () => {
    gateway.upstream.sayRaw('HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno');
    const client = await gateway.connect();
    await client.write('POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nstart');
    const answer = await client.answer();
    expect([answer.status, answer.body.toString()]).toEqual([401, 'no']);
    // A client that does send the rest finds its connection as good as new.
    await client.write(Buffer.alloc(199_995, 'x'));
    gateway.upstream.speakRaw(null);
    await client.write(GET);
    expect((await client.answer()).status).toBe(200);
    client.destroy();
    expect(gateway.upstream.seen).toHaveLength(1);
  });

  it('and ends its answer with its connection, is heard whole', async () => {
    gateway.upstream.sayRaw('HTTP/1.1 401 No\r\n\r\nno', (wire) => wire.end());
    const client = await gateway.connect();
    const head = 'POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nstart';
    await client.write(head);
    await client.says(/\r\n\r\nno$/);
    await client.write(Buffer.alloc(100_000, 'x'));
    // An end of the connection that was to come before the upload's would be here by now.
    await gateway.tidegate.status();
    await client.write(Buffer.alloc(99_994, 'x'));
    await gateway.tidegate.status();
    expect([client.ended, client.closed]).toEqual([false, false]);
    client.end('x');
    await until(() => client.closed);
    expect(await client.answer()).toMatchObject({ status: 401, framing: 'close' });
    expect([client.ended, client.error]).toEqual([true, null]);
  });

  it('has said it all, whatever the rest of the upload turns out to be', async () => {
    for (const rest of ['no size\r\n', '']) {
      gateway.upstream.sayRaw('HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno');
      const client = await gateway.connect();
      const head = 'POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
      await client.write(`${head}2\r\nok\r\n`);
      expect((await client.answer()).status).toBe(401);
      if (rest === '') client.end();
      else await client.write(rest);
      await client.isOver(1_000);
      expect(client.rest).toBe('');
    }
  });

  it('is heard by a client that never ends its upload, too', async () => {
    gateway.upstream.sayRaw('HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno');
    const client = await gateway.connect();
    await client.write('POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx');
    expect((await client.answer()).status).toBe(413);
    const sending = setInterval(() => void client.write(Buffer.alloc(10_000)), 5);
    await client.isOver();
    clearInterval(sending);
  });
});

describe('an upstream that can not be had', () => {
  it('refuses the connection: 502, and costs nothing', async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const gateway = new Gateway();
    await gateway.open({ TIDEGATE_UPSTREAM: `http://127.0.0.1:${port}` });
    try {
      for (const request of [GET, CALL]) {
        const answer = await gateway.exchange(request);
        expectLocalAnswer(answer, 502, 'api_error');
        expect(answer.body.toString()).toContain('ECONNREFUSED');
      }
      expect(await gateway.settledUse()).toBe(0);
      for (const leave of ['end', 'destroy', 'reset'] as const) {
        const client = await gateway.connect();
        await client.write('PUT /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\npart');
        expectLocalAnswer(await client.answer(), 502, 'api_error');
        client[leave]();
      }
      expectLocalAnswer(await gateway.exchange(GET), 502, 'api_error');
    } finally {
      await gateway.close();
    }
  });

  it('is silent: 504, and the estimate stands', async () => {
    const gateway = new Gateway();
    await gateway.open({ TIDEGATE_UPSTREAM_TIMEOUT: '300ms' });
    gateway.upstream.answer = () => {};
    try {
      for (const request of [GET, CALL]) {
        const answer = await gateway.exchange(request);
        expectLocalAnswer(answer, 504, 'timeout_error');
        expect(answer.body.toString()).toContain('within 0.3 s');
      }
      await until(() => gateway.upstream.aborted === 2);
      // To say that an answer will come is none.
      const saying = new Set<NodeJS.Timeout>();
      gateway.upstream.answer = (_request, response) => {
        saying.add(setInterval(() => response.writeProcessing(), 50));
      };
      expectLocalAnswer(await gateway.exchange(CALL), 504, 'timeout_error');
      for (const timer of saying) clearInterval(timer);
      expect(await gateway.settledUse()).toBeGreaterThan(0);
      // Headers in time are enough: a body may take as long as it likes.
      gateway.upstream.answer = (_request, response) => {
        response.write('slow ');
        setTimeout(() => response.end('body'), 700);
      };
      expect((await gateway.exchange(GET)).body.toString()).toBe('slow body');
    } finally {
      await gateway.close();
    }
  });
});

describe('a kept-alive connection that died idle', () => {
  const gateway = useGateway();

  /** Serves one request, then waits for `die`. */
  async function served(): Promise<Wire> {
    const wires: Wire[] = [];
    gateway.upstream.speakRaw((wire) => {
      wires.push(wire);
      let asked = '';
      wire.socket.on('data', (chunk) => {
        asked += chunk.toString('latin1');
        const [head, body] = asked.split('\r\n\r\n', 2);
        const length = Number(/content-length: (\d+)/i.exec(head!)?.[1] ?? 0);
        if (body === undefined || body.length < length) return;
        asked = '';
        void wire.write(`${OK}Content-Length: 2\r\n\r\nhi`);
      });
    });
    expect((await gateway.exchange(GET)).status).toBe(200);
    return wires[0]!;
  }

  it.each([
    ['closed', (wire: Wire) => wire.end()],
    ['reset', (wire: Wire) => wire.reset()],
  ])('(%s) is nothing that a client sees', async (_how, die) => {
    die(await served());
    expect((await gateway.exchange(GET)).status).toBe(200);
  });

  // What is large is handed to undici in another way than what is small.
  it.each([
    ['closed', 'small', GET, (wire: Wire) => wire.end()],
    ['reset', 'small', GET, (wire: Wire) => wire.reset()],
    ['closed', 'large', LARGE_CALL, (wire: Wire) => wire.end()],
    ['reset', 'large', LARGE_CALL, (wire: Wire) => wire.reset()],
  ])('(%s) just when %s is to use it again is not, either', async (_how, _size, request, die) => {
    const idle = await served();
    const client = await gateway.connect();
    await gateway.tidegate.frozen(async () => {
      await client.write(request);
      die(idle);
      await new Promise(setImmediate);
    });
    expect((await client.answer()).status).toBe(200);
    client.destroy();
  });
});
