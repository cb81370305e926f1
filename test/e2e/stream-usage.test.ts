import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { STREAM_HEADERS, type Answer } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import {
  asJson,
  asksForUsage,
  completionEvents,
  streamCompletion,
} from '../support/openai-upstream.js';

const PLAIN = '{"model":"gpt-test", "stream":true,"messages":[{"role":"user","content":"Hi"}]}';
const SHAPED = PLAIN.replace('true', 'true,"stream_options":{"include_usage":true}');
const COST = { prompt: 50, completion: 7 };

/** A request as a client would send it that takes every coding. */
function request(body: string, headers: readonly string[] = []): string {
  return [
    'POST /v1/chat/completions HTTP/1.1',
    'host: api',
    'content-type: application/json',
    'accept-encoding: gzip, br',
    `content-length: ${Buffer.byteLength(body)}`,
    ...headers,
    '',
    body,
  ].join('\r\n');
}

const eventsWith =
  (cut: (events: string[]) => string[]): Answer =>
  (seen, response) => {
    response.writeHead(200, STREAM_HEADERS);
    response.end(cut(completionEvents(COST, asksForUsage(seen))).join(''));
  };
const withoutUsage = completionEvents(COST, true).filter((text) => !text.includes('"choices":[]'));

describe('a stream whose client did not ask for its usage', () => {
  const gateway = useGateway({ TIDEGATE_DIALECT: 'openai' });

  it('is asked for it, without a coding, and comes back without the chunk', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = streamCompletion(COST);
    const { status, body } = await gateway.exchange(request(PLAIN));
    expect([status, body.toString()]).toEqual([200, withoutUsage.join('')]);
    const [seen] = gateway.upstream.seen;
    expect(seen!.body.toString()).toBe(SHAPED);
    expect(seen!.headers['content-length']).toBe(String(SHAPED.length));
    expect(seen!.headers['accept-encoding']).toBe('identity');
    await gateway.charges(before, 57);
  });

  it('comes back whole where the client asked, and with the coding it takes', async () => {
    gateway.upstream.answer = streamCompletion(COST);
    const { body } = await gateway.exchange(request(SHAPED));
    expect(body.toString()).toBe(completionEvents(COST, true).join(''));
    const [seen] = gateway.upstream.seen;
    expect(seen!.body.toString()).toBe(SHAPED);
    expect(seen!.headers['accept-encoding']).toBe('gzip, br');
  });

  it('has no length any more where the upstream stated one', async () => {
    const whole = completionEvents(COST, true).join('');
    gateway.upstream.answer = (_seen, response) => {
      const length = { 'content-length': String(whole.length) };
      response.writeHead(200, { ...STREAM_HEADERS, ...length }).end(whole);
    };
    const { body, framing } = await gateway.exchange(request(PLAIN));
    expect([framing, body.toString()]).toEqual(['chunked', withoutUsage.join('')]);
  });

  it('passes chunk by chunk, however the network cuts it', async () => {
    const whole = completionEvents(COST, true).join('');
    gateway.upstream.answer = async (_seen, response) => {
      response.writeHead(200, STREAM_HEADERS);
      for (let at = 0; at < whole.length; at += 97) {
        response.write(whole.slice(at, at + 97));
        await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    };
    const { body } = await gateway.exchange(request(PLAIN));
    expect(body.toString()).toBe(withoutUsage.join(''));
  });

  it('passes as it is where the upstream encodes it all the same', async () => {
    const before = await gateway.settledUse();
    const bytes = gzipSync(completionEvents(COST, true).join(''));
    gateway.upstream.answer = (_seen, response) => {
      response.writeHead(200, { ...STREAM_HEADERS, 'content-encoding': 'gzip' }).end(bytes);
    };
    const { body } = await gateway.exchange(request(PLAIN));
    expect(body.equals(bytes)).toBe(true);
    await gateway.charges(before, 57);
  });

  it('keeps what came of an event when the upstream breaks off', async () => {
    const events = completionEvents(COST, true).slice(0, 2);
    gateway.upstream.answer = (_seen, response) => {
      response.writeHead(200, STREAM_HEADERS).write(events.join(''));
      response.write('data: {"id":"chat', () => setTimeout(() => response.destroy(), 20));
    };
    const wire = await gateway.connect();
    await wire.write(request(PLAIN));
    await wire.isOver();
    expect(wire.text).toContain('word0');
    expect(wire.text).not.toContain('\r\n0\r\n\r\n');
    wire.destroy();
  });

  it('is settled by its estimate where the upstream states none all the same', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = eventsWith((events) =>
      events.filter((text) => !text.includes('"choices":[]')),
    );
    await gateway.exchange(request(PLAIN));
    expect((await gateway.settledUse()) - before).toBeGreaterThan(0);
  });

  it('is left alone where it cannot be read', async () => {
    gateway.upstream.answer = streamCompletion(COST);
    const odd = PLAIN.replace('"model"', '"stream":true,"model"');
    await gateway.exchange(request(odd));
    expect(gateway.upstream.seen[0]!.body.toString()).toBe(odd);
    expect(gateway.upstream.seen[0]!.headers['accept-encoding']).toBe('gzip, br');
  });
});

describe('an upstream that refuses to be asked', () => {
  const gateway = useGateway({ TIDEGATE_DIALECT: 'openai' });
  const refusing: Answer = (seen, response) => {
    const detail = [
      { type: 'extra_forbidden', loc: ['body', 'stream_options'], msg: 'Extra inputs' },
    ];
    const answer = asksForUsage(seen)
      ? asJson(422, { object: 'error', message: { detail } })
      : streamCompletion(COST);
    return answer(seen, response);
  };

  it('does so once: from then on no request is touched, and the log says so', async () => {
    gateway.upstream.answer = refusing;
    const first = await gateway.exchange(request(PLAIN));
    expect([first.status, first.body.toString()]).toEqual([
      422,
      expect.stringContaining('extra_forbidden'),
    ]);
    const second = await gateway.exchange(request(PLAIN));
    expect(second.status).toBe(200);
    expect(gateway.upstream.seen[1]!.body.toString()).toBe(PLAIN);
    expect(gateway.tidegate.out + gateway.tidegate.err).toContain('streamUsage: leave');
  });
});

describe('the Anthropic dialect', () => {
  const gateway = useGateway();

  it('touches nothing', async () => {
    await gateway.exchange(request(PLAIN).replace('/v1/chat/completions', '/v1/messages'));
    const [seen] = gateway.upstream.seen;
    expect(seen!.body.toString()).toBe(PLAIN);
    expect(seen!.headers['accept-encoding']).toBe('gzip, br');
  });
});
