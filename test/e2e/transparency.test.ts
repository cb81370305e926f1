import { describe, expect, it } from 'vitest';
import { jsonMessage, messageText } from '../support/fake-upstream.js';
import { useGateway, type Gateway } from '../support/gateway.js';

/** Said between two neighbours only, and not to be passed on. */
const HOP_BY_HOP = [
  'Connection: keep-alive, X-Hop',
  'X-Hop: for the next hop only',
  'Keep-Alive: timeout=5',
  'TE: trailers',
  'Trailer: X-T',
  'Proxy-Connection: keep-alive',
  'Proxy-Authorization: Basic secret',
  'Upgrade: h2c',
];
const END_TO_END = [
  'User-Agent: odd/1.0 (x; y)',
  'X-Dup: 1',
  'x-dup: 2',
  'X-DUP: 1',
  'X-Latin: caf\xe9 \xff\x80',
  'X-Tab: a\tb',
  'X-Empty: ',
  'Accept-Encoding: gzip, br;q=0.5',
  'anthropic-beta: a',
  'anthropic-beta: b',
  'Cookie: a=1',
  'Cookie: b=2',
  '__proto__: x',
  `X-Long: ${'l'.repeat(20_000)}`,
  ...Array.from({ length: 1_500 }, (_, index) => `n: ${index}`),
];

const pairs = (lines: readonly string[]) =>
  lines.flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]);

function onlyRequest({ upstream }: Gateway) {
  expect(upstream.seen).toHaveLength(1);
  return upstream.seen[0]!;
}

describe('a request', () => {
  const gateway = useGateway();

  it.each(['PATCH /v1/other', 'POST /v1/messages'])('keeps its headers: %s', async (line) => {
    const lines = [
      `${line} HTTP/1.1`,
      'Host: client.example',
      ...HOP_BY_HOP,
      'tidegate-decision: cooldown',
      'Tidegate-Anything: x',
      'Via: 1.0 fred',
      ...END_TO_END,
      'Content-Length: 5',
    ];
    const answer = await gateway.exchange(`${lines.join('\r\n')}\r\n\r\nhello`);
    expect(answer.status).toBe(200);
    const { rawHeaders, body } = onlyRequest(gateway);
    const { host } = new URL(gateway.upstream.url);
    const kept = ['host', host, 'connection', 'keep-alive', ...pairs(END_TO_END)];
    expect(rawHeaders.slice(0, kept.length)).toEqual(kept);
    const added = rawHeaders.slice(kept.length);
    expect(added).toHaveLength(4);
    expect(added).toEqual(expect.arrayContaining(['content-length', '5', 'via']));
    expect(added[added.indexOf('via') + 1]).toMatch(/^1\.0 fred, 1\.1 tidegate-[0-9a-f]{8}$/);
    expect(body.toString()).toBe('hello');
  });

  it('has no header that its client did not send, save those of the connection and Via', async () => {
    await gateway.exchange('GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n');
    const names = onlyRequest(gateway).rawHeaders.filter((_, index) => index % 2 === 0);
    expect(names).toEqual(['host', 'connection', 'via']);
  });

  it.each([
    '/',
    '//',
    '//v1//models',
    '/v1/models?',
    '/?a?b=c&&d=%zz',
    '/a/../b/./c/%2e%2e/d',
    '/%2F%20%C3%A9%ff%00',
    '/~!$&\'()*+,;=:@"<>[]^`{|}\\',
    '/a;b=c/d',
    `/${'p'.repeat(8_000)}?${'q'.repeat(8_000)}`,
  ])('keeps its target byte for byte: %s', async (target) => {
    await gateway.exchange(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(onlyRequest(gateway).url).toBe(target);
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'QUERY', 'TRACE', 'PURGE'])(
    'keeps its method and body: %s',
    async (method) => {
      const request = `${method} /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody`;
      const answer = await gateway.exchange(request);
      expect(answer.status).toBe(200);
      const seen = onlyRequest(gateway);
      expect([seen.method, seen.body.toString()]).toEqual([method, 'body']);
    },
  );

  it.each([
    ['/v1/messages', true],
    ['/v1/messages?beta=true', true],
    ['//v1/messages/', true],
    ['/v1/%6dessages', true],
    ['/v1/x/%2e%2e/messages', true],
    ['/x%2F..%2Fv1/messages', true],
    ['/v1/messages/x%2f..', true],
    ['/v1/%256dessages', true],
    ['/v1/Messages;a=b', true],
    ['/v1/messages/count_tokens', false],
    ['/v1/messages/batches', false],
    ['/v1/models/a%2Fb;c?d=/../v1/messages', false],
    ['/V1/models%ff', false],
  ])('is metered however its path is spelled: %s is %s', async (target, metered) => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = jsonMessage({ input: 3, output: 4 });
    const request = `POST ${target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`;
    expect((await gateway.exchange(request)).status).toBe(200);
    await gateway.charges(before, metered ? 7 : 0);
    expect(onlyRequest(gateway).url).toBe(target);
  });

  it('whose client waits for 100 Continue gets it, and its upstream is not asked', async () => {
    for (const path of ['/v1/messages', '/v1/files']) {
      gateway.upstream.seen.length = 0;
      const wire = await gateway.connect();
      const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n`;
      await wire.write(`${head}Expect: 100-continue\r\n\r\n`);
      expect((await wire.answer()).status).toBe(100);
      await wire.write('body');
      expect((await wire.answer()).status).toBe(200);
      const { headers, body } = onlyRequest(gateway);
      expect([headers.expect, body.toString()]).toEqual([undefined, 'body']);
      wire.destroy();
    }
  });
});

describe('a request to an upstream with a base path', () => {
  const gateway = useGateway((url) => ({ TIDEGATE_UPSTREAM: `${url}/anthropic` }));

  it.each([
    ['/v1/messages', true],
    ['/../anthropic/v1/messages', true],
    ['/x/%2e%2e%2f../anthropic/v1/messages', true],
    ['/v1/models/a%2Fb', false],
  ])(
    'is metered if it may spend, and stands behind it byte for byte: %s',
    async (target, metered) => {
      const before = await gateway.settledUse();
      gateway.upstream.answer = jsonMessage({ input: 3, output: 4 });
      const request = `POST ${target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`;
      expect((await gateway.exchange(request)).status).toBe(200);
      await gateway.charges(before, metered ? 7 : 0);
      expect(onlyRequest(gateway).url).toBe(`/anthropic${target}`);
    },
  );
});

describe('an answer', () => {
  const gateway = useGateway();

  const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
  const get = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  const notOurs = (rawHeaders: readonly string[]) => {
    const ours = ['Connection', 'keep-alive', 'Keep-Alive', 'timeout=75'];
    expect(rawHeaders.slice(-4)).toEqual(ours);
    return rawHeaders.slice(0, -4);
  };

  it('keeps its status, reason and headers, and gets none of ours', async () => {
    const lines = ['Date: yesterday', 'Server: a\xe9', 'Set-Cookie: a=1', 'set-cookie: b=2'];
    const kept = [...lines, 'Retry-After: 0', 'X-Empty: ', 'Via: 1.1 google', 'Content-Length: 2'];
    gateway.upstream.sayRaw(`${head('HTTP/1.1 299 R\xc3\xa9ally', ...HOP_BY_HOP, ...kept)}hi`);
    const answer = await gateway.exchange(get());
    expect([answer.status, answer.reason]).toEqual([299, 'R\xc3\xa9ally']);
    expect(notOurs(answer.rawHeaders)).toEqual(pairs(kept));
    expect(answer.body.toString()).toBe('hi');
  });

  it.each([
    ['of a reason that is not UTF-8', 'caf\xe9'],
    ['of a reason that HTTP does not allow', 'a\x01b'],
    ['without a reason', ''],
  ])('%s is relayed without one', async (_what, reason) => {
    gateway.upstream.sayRaw(`HTTP/1.1 200 ${reason}\r\nContent-Length: 2\r\n\r\nhi`);
    const answer = await gateway.exchange(get());
    expect([answer.status, answer.reason, answer.body.toString()]).toEqual([200, '', 'hi']);
  });

  it.each(
    [
      ['length', head('HTTP/1.1 200 OK', 'Content-Length: 5') + 'hello'],
      [
        'chunked',
        head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked') + '5\r\nhello\r\n0\r\n\r\n',
      ],
      ['close', head('HTTP/1.1 200 OK') + 'hello'],
      ['close', head('HTTP/1.1 200 OK', 'Transfer-Encoding: identity') + 'hello'],
      ['close', head('HTTP/1.0 200 OK') + 'hello'],
      ['length', head('HTTP/1.0 200 OK', 'Content-Length: 5') + 'hello'],
    ].filter(([, bytes]) => bytes !== ''),
  )('is framed anew: %s for %j', async (framing, bytes) => {
    gateway.upstream.sayRaw(bytes, (wire) => wire.end());
    const answer = await gateway.exchange(get());
    expect([answer.framing, answer.body.toString()]).toEqual([framing, 'hello']);
  });

  it.each([
    ['HEAD', 'HTTP/1.1 200 OK', ['Content-Length: 12345', 'ETag: "x"']],
    ['HEAD', 'HTTP/1.1 200 OK', []],
    ['GET', 'HTTP/1.1 204 No Content', ['X-A: b']],
    ['GET', 'HTTP/1.1 304 Not Modified', ['Content-Length: 99', 'ETag: "x"']],
    ['GET', 'HTTP/1.1 200 OK', ['Content-Length: 0']],
  ])('to %s with %s %j has no body', async (method, line, lines) => {
    gateway.upstream.sayRaw(head(line, ...lines));
    const wire = await gateway.connect();
    await wire.write(`${method} / HTTP/1.1\r\nHost: x\r\n\r\n`);
    const answer = await wire.answer({ bodiless: method === 'HEAD' });
    expect(notOurs(answer.rawHeaders)).toEqual(pairs(lines));
    gateway.upstream.speakRaw(null);
    await wire.write(get());
    expect((await wire.answer()).status, 'the connection goes on').toBe(200);
    wire.destroy();
  });

  it('comes without the informational ones before it', async () => {
    const early = [
      head('HTTP/1.1 102 Processing'),
      head('HTTP/1.1 103 Early Hints', 'Link: </a>', 'Content-Length: 5'),
      head('HTTP/1.1 199 Whatever', 'Transfer-Encoding: chunked'),
    ];
    for (const request of [
      get(),
      'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}',
    ]) {
      const before = await gateway.settledUse();
      const message = messageText({ input: 3, output: 4 });
      const final = head(
        'HTTP/1.1 200 OK',
        'Content-Type: application/json',
        `Content-Length: ${message.length}`,
      );
      gateway.upstream.speakRaw((upstream) => {
        upstream.socket.once('data', async () => {
          for (const part of early) await upstream.write(part);
          // In one piece with the last of them, and apart from it.
          await upstream.write(early[0] + final + message);
        });
      });
      const answer = await gateway.exchange(request);
      expect([answer.status, answer.headers.get('link')]).toEqual([200, undefined]);
      expect(answer.body.toString()).toBe(message);
      await gateway.charges(before, request === get() ? 0 : 7);
    }
  });

  it('that redirects is not followed', async () => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(307, { location: '/elsewhere' }).end();
    };
    const answer = await gateway.exchange(get());
    expect([answer.status, answer.headers.get('location')]).toEqual([307, '/elsewhere']);
    expect(gateway.upstream.seen).toHaveLength(1);
  });

  it('to HTTP/1.0 ends with the connection, unless its length is known', async () => {
    const ask = (...lines: string[]) => gateway.exchange(head('GET / HTTP/1.0', ...lines));
    gateway.upstream.answer = (_request, response) => void response.end('whole');
    const whole = await ask('Connection: keep-alive');
    expect([whole.framing, whole.body.toString()]).toEqual(['length', 'whole']);
    expect(whole.headers.get('connection')).toBe('keep-alive');
    gateway.upstream.answer = (_request, response) => {
      response.write('st');
      response.end('reamed');
    };
    const streamed = await ask('Connection: keep-alive');
    expect([streamed.framing, streamed.body.toString()]).toEqual(['close', 'streamed']);
    expect(streamed.headers.get('connection')).toBe('close');
  });
});

describe('an upstream with a base path', () => {
  const gateway = useGateway((upstream) => ({ TIDEGATE_UPSTREAM: `${upstream}/base/v2/` }));

  it('gets it before every path, and metering looks behind it', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = jsonMessage({ input: 3, output: 4 });
    const request = 'POST //v1/messages?x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
    expect((await gateway.exchange(request)).status).toBe(200);
    await gateway.charges(before, 7);
    expect(onlyRequest(gateway).url).toBe('/base/v2//v1/messages?x');
  });
});
