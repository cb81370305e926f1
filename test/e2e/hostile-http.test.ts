import { describe, expect, it } from 'vitest';
import { jsonMessage } from '../support/fake-upstream.js';
import { Gateway, useGateway } from '../support/gateway.js';
import { expectLocalAnswer } from '../support/local-answer.js';
import { until } from '../support/until.js';

const lines = (...all: string[]) => `${all.join('\r\n')}\r\n\r\n`;
const POST = 'POST /v1/messages HTTP/1.1';
const HOST = 'Host: x';
/** Would be a request of its own to whoever ends the one before it too early. */
const SMUGGLED = lines('GET /smuggled HTTP/1.1', HOST);
const GET = lines('GET /v1/models HTTP/1.1', HOST);

const chunked = 'Transfer-Encoding: chunked';
const none = `0\r\n\r\n`;

const REFUSED: readonly [string, string][] = [
  ['length and chunks', lines(POST, HOST, 'Content-Length: 5', chunked) + none],
  ['chunks and length', lines(POST, HOST, chunked, 'Content-Length: 5') + none],
  ['a coding alone', lines(POST, HOST, 'Transfer-Encoding: gzip')],
  ['chunked not last', lines(POST, HOST, 'Transfer-Encoding: chunked, identity') + none],
  ['a coding before chunked', lines(POST, HOST, 'Transfer-Encoding: gzip, chunked') + none],
  ['two codings', lines(POST, HOST, 'Transfer-Encoding: gzip', chunked) + none],
  ['chunked twice', lines(POST, HOST, chunked, chunked) + none],
  ['a coding like chunked', lines(POST, HOST, 'Transfer-Encoding: xchunked')],
  ['a coding behind a control', lines(POST, HOST, 'Transfer-Encoding: \x0bchunked') + none],
  ['two lengths', lines(POST, HOST, 'Content-Length: 5', 'Content-Length: 6')],
  ['two equal lengths', lines(POST, HOST, 'Content-Length: 5', 'Content-Length: 5')],
  ['a list of lengths', lines(POST, HOST, 'Content-Length: 5, 5')],
  ['a signed length', lines(POST, HOST, 'Content-Length: +5')],
  ['a negative length', lines(POST, HOST, 'Content-Length: -5')],
  ['an endless length', lines(POST, HOST, `Content-Length: ${'9'.repeat(30)}`)],
  ['an empty length', lines(POST, HOST, 'Content-Length: ')],
  ['no Host', lines('GET / HTTP/1.1')],
  ['two Hosts', lines('GET / HTTP/1.1', HOST, 'Host: y')],
  ['an absolute target', lines('GET http://evil.example/ HTTP/1.1', HOST)],
  ['CONNECT', lines('CONNECT evil.example:443 HTTP/1.1', HOST)],
  ['an asterisk', lines('OPTIONS * HTTP/1.1', HOST)],
  ['a fragment', lines('POST /v1/messages#x HTTP/1.1', HOST)],
  ['a space in the target', lines('GET /a b HTTP/1.1', HOST)],
  ['a byte above ASCII in the target', lines('GET /caf\xe9 HTTP/1.1', HOST)],
  ['bare line feeds', 'GET / HTTP/1.1\nHost: x\n\n'],
  ['one bare line feed', `GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n`],
  ['a folded header', lines('GET / HTTP/1.1', HOST, 'X: y', ' z')],
  ['a space before the colon', lines('GET / HTTP/1.1', HOST, 'X : y')],
  ['a NUL in a value', lines('GET / HTTP/1.1', HOST, 'X: a\0b')],
  ['a CR in a value', lines('GET / HTTP/1.1', HOST, 'X: a\rb')],
  ['a control in a value', lines('GET / HTTP/1.1', HOST, 'X: a\x7fb')],
  ['an unknown method', lines('BREW / HTTP/1.1', HOST)],
  ['HTTP/1.0 with chunks', lines('POST /v1/messages HTTP/1.0', chunked) + none],
  ['HTTP/0.9', 'GET /\r\n\r\n'],
  ['HTTP/2.0', lines('GET / HTTP/2.0', HOST)],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['a chunk without size', `${lines(POST, HOST, chunked)}no size\r\n`],
  ['a chunk with a bare line feed', `${lines(POST, HOST, chunked)}5\nhello\r\n${none}`],
  ['a chunk longer than it says', `${lines(POST, HOST, chunked)}2\r\nhello\r\n${none}`],
  ['a streamed chunk without size', `${lines('PUT / HTTP/1.1', HOST, chunked)}no size\r\n`],
];

describe('a request that can be read in two ways', () => {
  const gateway = useGateway();

  it.each(REFUSED)('is refused: %s', async (_what, request) => {
    const wire = await gateway.connect();
    await wire.write(request + SMUGGLED);
    const answer = await wire.answer();
    expectLocalAnswer(answer, 400, 'invalid_request_error');
    expect([answer.reason, answer.headers.get('connection')]).toEqual(['Bad Request', 'close']);
    wire.end();
    await wire.isOver();
    expect(wire.rest, 'one answer').toBe('');
    expect(wire.error).toBeNull();
    expect((await gateway.exchange(GET)).status, 'others go on').toBe(200);
    expect(gateway.upstream.seen.map(({ url }) => url)).toEqual(['/v1/models']);
  });

  it('with an expectation that none can meet is refused with 417', async () => {
    const wire = await gateway.connect();
    await wire.write(lines(POST, HOST, 'Expect: tea', 'Content-Length: 5') + SMUGGLED);
    expectLocalAnswer(await wire.answer(), 417, 'invalid_request_error');
    wire.end();
    await wire.isOver();
    expect(wire.rest, 'one answer').toBe('');
    expect(gateway.upstream.seen).toHaveLength(0);
  });

  it('with headers beyond measure is refused with 431', async () => {
    for (const header of [`X: ${'x'.repeat(70_000)}`, 'x: y\r\n'.repeat(40_000).trim()]) {
      const wire = await gateway.connect();
      void wire.write(lines('GET / HTTP/1.1', HOST, header) + SMUGGLED);
      const answer = await wire.answer();
      expectLocalAnswer(answer, 431, 'invalid_request_error');
      wire.destroy();
    }
    expect(gateway.upstream.seen).toHaveLength(0);
  });

  it('is answered after those before it on its connection', async () => {
    gateway.upstream.answer = ({ url }, response) => {
      setTimeout(() => response.end(url), url === '/1' ? 100 : 0);
    };
    const wire = await gateway.connect();
    const first = lines('GET /1 HTTP/1.1', HOST) + lines('GET /2 HTTP/1.1', HOST);
    await wire.write(`${first}BREW /3 HTTP/1.1\r\n\r\n`);
    expect((await wire.answer()).body.toString()).toBe('/1');
    expect((await wire.answer()).body.toString()).toBe('/2');
    expectLocalAnswer(await wire.answer(), 400, 'invalid_request_error');
    wire.end();
    await wire.isOver();
    expect(wire.rest).toBe('');
  });

  it('while its answer is under way cuts both', async () => {
    gateway.upstream.sayRaw('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nearly');
    const wire = await gateway.connect();
    await wire.write(`${lines('PUT / HTTP/1.1', HOST, chunked)}2\r\nok\r\n`);
    await wire.says('early');
    await wire.write('no size\r\n');
    await wire.isOver(1_000);
    await expect(wire.answer()).rejects.toThrow('no whole answer');
  });

  it('does not keep its connection when its client keeps on sending', async () => {
    const wire = await gateway.connect();
    await wire.write(REFUSED[0]![1]);
    const sending = setInterval(() => void wire.write('more\r\n'), 10);
    expectLocalAnswer(await wire.answer(), 400, 'invalid_request_error');
    await until(() => wire.closed, 4_000);
    clearInterval(sending);
  });

  it('may be reset by its client at any time', async () => {
    for (const request of [REFUSED[0]![1], lines('CONNECT x:1 HTTP/1.1', HOST)]) {
      const wires = await Promise.all(Array.from({ length: 20 }, () => gateway.connect()));
      for (const wire of wires) {
        void wire.write(request);
        setImmediate(() => wire.reset());
      }
      await until(() => wires.every(({ closed }) => closed));
    }
    expect((await gateway.exchange(GET)).status).toBe(200);
  });
});

describe('requests in a row on one connection', () => {
  const gateway = useGateway();

  it('are answered in their order, whichever is done first', async () => {
    gateway.upstream.answer = ({ url, body }, response) => {
      const write = () => response.end(`${url} ${body}`);
      setTimeout(write, { '/0': 60, '/1': 0, '/2': 30 }[url] ?? 0);
    };
    const wire = await gateway.connect();
    const row = Array.from({ length: 20 }, (_, index) => {
      const head = lines(`POST /${index} HTTP/1.1`, HOST, 'Content-Length: 22');
      return `${head}GET /x HTTP/1.1\r\n\r\n...`;
    });
    await wire.write(row.join(''));
    for (const index of row.keys()) {
      expect((await wire.answer()).body.toString()).toContain(`/${index} GET /x`);
    }
    expect(gateway.upstream.seen).toHaveLength(20);
    wire.destroy();
  });

  it('may be mixed with refusals of ours', async () => {
    const wire = await gateway.connect();
    const twoHosts = lines('GET / HTTP/1.1', HOST, 'Host: y');
    await wire.write(GET + twoHosts + SMUGGLED);
    expect((await wire.answer()).status).toBe(200);
    expectLocalAnswer(await wire.answer(), 400, 'invalid_request_error');
    await wire.isOver();
    expect(wire.rest, 'nothing after connection: close').toBe('');
    wire.destroy();
  });
});

describe('what is not for a reverse proxy', () => {
  const gateway = useGateway();

  it('is a WebSocket: 501', async () => {
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    const answer = await gateway.exchange(lines('GET /v1/realtime HTTP/1.1', HOST, ...upgrade));
    expectLocalAnswer(answer, 501, 'api_error');
    expect(gateway.upstream.seen).toHaveLength(0);
  });

  it('is itself: one loop, then 508', async () => {
    // The process finds itself behind a port that it can't know for its own.
    const looped = new Gateway();
    await looped.open((upstream) => ({ TIDEGATE_UPSTREAM: upstream }));
    try {
      looped.upstream.speakRaw((wire) => {
        const { socket } = wire;
        void looped.connect().then((again) => {
          again.socket.pipe(socket);
          socket.pipe(again.socket);
          if (wire.text !== '') void again.write(wire.text);
        });
      });
      for (const request of [GET, `${lines(POST, HOST, 'Content-Length: 2')}{}`]) {
        const answer = await looped.exchange(request);
        expectLocalAnswer(answer, 508, 'api_error');
      }
      const turnedAway = looped.tidegate.log().filter(({ problem }) => problem === 'loop');
      expect(turnedAway).toHaveLength(2);
      expect(await looped.settledUse(), 'nothing was spent').toBe(0);
    } finally {
      await looped.close();
    }
  });

  it('is a header of ours: an agent can not speak for the governor', async () => {
    gateway.upstream.answer = jsonMessage();
    await gateway.exchange(lines('GET / HTTP/1.1', HOST, 'TideGate-Decision: cooldown'));
    expect(gateway.upstream.seen[0]!.headers).not.toHaveProperty('tidegate-decision');
  });
});
