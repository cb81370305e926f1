import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import { openLog } from '../../src/platform/log.js';
import { SYSTEM_TIMERS } from '../../src/platform/timers.js';
import { type Exchange, LINGER_MS } from '../../src/proxy/exchange.js';
import { Listener, MOST_IN_A_ROW } from '../../src/proxy/listener.js';
import { expectLocalAnswer } from '../support/local-answer.js';
import { Wire } from '../support/wire.js';

const HEADERS_MS = 200;
const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

let listener: Listener | null = null;
let server: Server | null = null;
let lines: string[] = [];
const log = openLog({ format: 'text', write: (line) => lines.push(line), now: () => 0 });

async function open(onExchange: (exchange: Exchange) => void): Promise<Wire> {
  listener = new Listener({
    dialect: ANTHROPIC,
    timers: SYSTEM_TIMERS,
    log,
    nextRequestId: () => 'tg_1',
    onExchange,
    onUnread: () => {},
    headersMs: HEADERS_MS,
  });
  server = listener.server;
  const { port } = await listener.open({ host: '127.0.0.1', port: 0 });
  return Wire.open(`http://127.0.0.1:${port}`);
}

afterEach(() => {
  return listener?.close();
});

describe('headers that come too slowly', () => {
  it.each([
    ['byte by byte', 'GET /'],
    ['without an end', 'GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n'],
    ['not at all', ''],
  ])('are refused with 408, and their connection ends: %s', async (_how, start) => {
    const wire = await open(() => expect.unreachable());
    await wire.write(start);
    const drip = setInterval(() => void wire.write('P'), 20);
    if (start === '') clearInterval(drip);
    expectLocalAnswer(await wire.answer(), 408, 'invalid_request_error');
    clearInterval(drip);
    wire.end();
    await wire.isOver();
  });

  it('end a connection on which others have been answered', async () => {
    const wire = await open(({ response }) => response.end('ok'));
    await wire.write(GET);
    expect((await wire.answer()).status).toBe(200);
    await wire.write('GET / HTTP/1.1\r\nHo');
    expect((await wire.answer()).status).toBe(408);
    wire.destroy();
  });

  it('are no reason to cut a body that takes longer', async () => {
    const wire = await open(({ request, response }) => {
      request.resume().once('end', () => response.end('whole'));
    });
    await wire.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n');
    for (let sent = 0; sent < 10; sent += 1) {
      await wire.write('x');
      await new Promise((resolve) => setTimeout(resolve, HEADERS_MS / 4));
    }
    expect((await wire.answer()).body.toString()).toBe('whole');
    wire.destroy();
  });
});

it('a connection that can’t be accepted harms no other, and is told once', async () => {
  const wire = await open(({ response }) => response.end('ok'));
  lines = [];
  // What Node does when the process is out of files.
  const outOfFiles = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
  for (let client = 0; client < 100; client += 1) server?.emit('error', outOfFiles);
  await wire.write(GET);
  expect((await wire.answer()).status).toBe(200);
  expect(lines).toEqual([expect.stringContaining('code=EMFILE')]);
  wire.destroy();
});

describe('behind a request that is being answered', () => {
  it('what is no request is refused once, in however many pieces it comes', async () => {
    const exchanges: Exchange[] = [];
    const wire = await open((exchange) => exchanges.push(exchange));
    await wire.write(GET);
    await expect.poll(() => exchanges.length).toBe(1);
    const { response } = exchanges[0]!;
    const listeners = response.listenerCount('close');
    let errors = 0;
    server?.on('clientError', () => (errors += 1));
    while (errors < 3) {
      const before = errors;
      await wire.write('no request\r\n');
      await expect.poll(() => errors).toBeGreaterThan(before);
    }
    expect(response.listenerCount('close')).toBe(listeners + 1);
    response.end('ok');
    expect((await wire.answer()).status).toBe(200);
    expectLocalAnswer(await wire.answer(), 400, 'invalid_request_error');
    wire.end();
    await wire.isOver();
    expect(wire.rest).toBe('');
  });

  it('headers that came too slowly are no request any more', async () => {
    const exchanges: Exchange[] = [];
    const wire = await open((exchange) => exchanges.push(exchange));
    await wire.write(`${GET}GET / HTTP/1.1\r\nHo`);
    await new Promise((late) => server?.once('clientError', late));
    await wire.write('st: x\r\n\r\n');
    exchanges[0]!.response.end('ok');
    expect((await wire.answer()).status).toBe(200);
    expectLocalAnswer(await wire.answer(), 408, 'invalid_request_error');
    wire.end();
    await wire.isOver();
    expect([exchanges.length, wire.rest]).toEqual([1, '']);
  });
});

describe('a connection that is refused', () => {
  const CONNECT = 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n';

  it.each(['no request\r\n', CONNECT])(
    'has what follows dropped, and is told once: %j',
    async (bad) => {
      const wire = await open(() => expect.unreachable());
      lines = [];
      await wire.write(bad);
      for (let sent = 0; sent < 16; sent += 1) await wire.write(Buffer.alloc(1_000_000, 'x'));
      expect((await wire.answer()).status).toBe(400);
      wire.end();
      await wire.isOver(LINGER_MS / 2);
      expect([wire.error, wire.rest]).toEqual([null, '']);
      expect(lines).toHaveLength(1);
    },
  );

  it('is forgotten once it is closed', async () => {
    const wire = await open(() => expect.unreachable());
    const refused = new Promise<Socket>((resolve) => {
      server?.once('clientError', (_error, socket) => resolve(socket as Socket));
    });
    await wire.write('no request\r\n');
    const socket = await refused;
    wire.end();
    await expect.poll(() => socket.destroyed).toBe(true);
    let touched = false;
    socket.destroy = () => {
      touched = true;
      return socket;
    };
    await listener?.close();
    expect(touched).toBe(false);
  });
});

describe('requests in a row', () => {
  it('are taken up to a bound, and then end their connection', async () => {
    let under = 0;
    let most = 0;
    const wire = await open((exchange) => {
      most = Math.max(most, (under += 1));
      exchange.whenClosed(() => (under -= 1));
    });
    lines = [];
    await wire.write(GET.repeat(MOST_IN_A_ROW));
    await expect.poll(() => under).toBe(MOST_IN_A_ROW);
    await wire.write(GET.repeat(1_000));
    await wire.isOver();
    await expect.poll(() => under).toBe(0);
    expect([most, lines.length]).toEqual([MOST_IN_A_ROW, 1]);
  });

  it('may be many, if they are not all under way at once', async () => {
    const wire = await open(({ response }) => response.end('ok'));
    for (let turn = 0; turn < 3; turn += 1) {
      await wire.write(GET.repeat(MOST_IN_A_ROW));
      for (let index = 0; index < MOST_IN_A_ROW; index += 1) {
        expect((await wire.answer()).status).toBe(200);
      }
    }
    wire.destroy();
  });

  it('behind an answer that ends the connection are bounded, too', async () => {
    const exchanges: Exchange[] = [];
    const wire = await open((exchange) => {
      exchanges.push(exchange);
      if (exchanges.length === 2) exchange.answer({ kind: 'loop', message: '' }, { close: true });
    });
    await wire.write(GET + GET);
    await expect.poll(() => exchanges.length).toBe(2);
    await wire.write(GET.repeat(MOST_IN_A_ROW - 2));
    exchanges[0]!.response.write('half');
    await wire.says('half');
    await wire.write(GET);
    await wire.isOver();
    expect(exchanges).toHaveLength(2);
  });
});

it('an upload may take as long as it likes', async () => {
  const wire = await open(() => {});
  expect(server?.requestTimeout).toBe(0);
  wire.destroy();
});

describe('an exchange', () => {
  it('that is over is not kept by its connection', async () => {
    const exchanges: Exchange[] = [];
    const wire = await open((exchange) => {
      exchanges.push(exchange);
      if (exchanges.length === 1) exchange.response.end('ok');
    });
    await wire.write(GET);
    expect((await wire.answer()).status).toBe(200);
    let left = 0;
    await wire.write(GET);
    await expect.poll(() => exchanges.length).toBe(2);
    for (const exchange of exchanges) exchange.leave = () => (left += 1);
    wire.destroy();
    await expect.poll(() => left).toBeGreaterThan(0);
    expect(left).toBe(1);
  });

  const problem = { kind: 'too-large', message: 'no' } as const;
  const upload = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n';

  it('of HTTP/1.0 is not told to go on: its client would take that for the answer', async () => {
    const wire = await open((exchange) => {
      exchange.invite();
      exchange.response.end('ok');
    });
    await wire.write('POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
    expect((await wire.answer()).status).toBe(200);
    wire.destroy();
  });

  it('whose client has left is not answered', async () => {
    const exchanges: Exchange[] = [];
    const wire = await open((exchange) => exchanges.push(exchange));
    await wire.write(GET);
    await expect.poll(() => exchanges.length).toBe(1);
    const [exchange] = exchanges as [Exchange];
    wire.destroy();
    await new Promise<void>((resolve) => exchange.whenClosed(resolve));
    exchange.answer(problem, { close: false });
    expect([exchange.answered, exchange.response.headersSent]).toEqual([false, false]);
  });

  it('is answered before its request is read, and the answer arrives', async () => {
    const wire = await open((exchange) => exchange.answer(problem, { close: false }));
    await wire.write(upload);
    // More than the buffers of both kernels: a close would meet unread bytes, and be a reset.
    for (let sent = 0; sent < 8; sent += 1) await wire.write(Buffer.alloc(1_000_000));
    const answer = await wire.answer();
    expectLocalAnswer(answer, 413, 'request_too_large');
    expect(answer.headers.get('connection')).toBe('close');
    wire.end();
    await wire.isOver();
    expect(wire.error).toBeNull();
  });

  it('is answered, and the answer arrives though the body turns out to be broken', async () => {
    const wire = await open((exchange) => exchange.answer(problem, { close: false }));
    await wire.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    await wire.write('no size\r\n');
    for (let sent = 0; sent < 8; sent += 1) await wire.write(Buffer.alloc(1_000_000));
    expectLocalAnswer(await wire.answer(), 413, 'request_too_large');
    wire.end();
    await wire.isOver();
    expect([wire.error, wire.rest]).toEqual([null, '']);
  });

  it('is over as soon as its client has the answer and leaves', async () => {
    let over = false;
    const wire = await open((exchange) => {
      exchange.answer(problem, { close: false });
      exchange.whenClosed(() => (over = true));
    });
    await wire.write(upload);
    await wire.answer();
    expect(over).toBe(false);
    wire.end();
    await wire.isOver(LINGER_MS / 2);
    await expect.poll(() => over).toBe(true);
  });

  it('that ends its connection is the last one there', async () => {
    let exchanges = 0;
    const wire = await open((exchange) => {
      exchanges += 1;
      exchange.answer(problem, { close: false });
    });
    await wire.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n');
    expect((await wire.answer()).headers.get('connection')).toBe('close');
    await wire.write(`hello${GET}${GET}`);
    await wire.isOver(LINGER_MS / 2);
    expect([exchanges, wire.rest]).toEqual([1, '']);
  });

  it('under way is not mixed with an answer to CONNECT', async () => {
    let response: Exchange['response'] | null = null;
    const wire = await open((exchange) => {
      response = exchange.response;
      response.write('half ');
    });
    await wire.write(GET);
    await wire.says('half ');
    await wire.write('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await wire.isOver();
    expect(wire.text).toMatch(/half \r\n$/);
  });

  it.each([
    ['CONNECT', (wire: Wire) => wire.write('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a close', (wire: Wire) => wire.destroy()],
    ['a reset', (wire: Wire) => wire.reset()],
  ])('that waits for another one is over with their connection: %s', async (_how, leave) => {
    const exchanges: Exchange[] = [];
    let closed = 0;
    const wire = await open((exchange) => {
      exchanges.push(exchange);
      exchange.whenClosed(() => (closed += 1));
    });
    await wire.write(GET + GET + GET);
    await expect.poll(() => exchanges.length).toBe(3);
    await leave(wire);
    await expect.poll(() => closed).toBe(3);
    expect(exchanges.every(({ over }) => over)).toBe(true);
  });

  it('has one answer', async () => {
    const wire = await open((exchange) => {
      exchange.answer({ kind: 'loop', message: 'first' }, { close: false });
      exchange.answer(problem, { close: false });
    });
    await wire.write(GET + GET);
    expectLocalAnswer(await wire.answer(), 508, 'api_error');
    expectLocalAnswer(await wire.answer(), 508, 'api_error');
    expect(wire.rest).toBe('');
    wire.destroy();
  });
});
