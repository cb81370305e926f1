import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { STREAM_HEADERS, type Answer } from '../support/fake-upstream.js';
import { useGateway, type Gateway } from '../support/gateway.js';
import {
  asJson,
  asksForUsage,
  completionEvents,
  openAiError,
  streamCompletion,
} from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const PLAIN = '{"model":"gpt-test", "stream":true,"messages":[{"role":"user","content":"Hi"}]}';
const asking = (body: string) =>
  body.replace('true', 'true,"stream_options":{"include_usage":true}');
const SHAPED = asking(PLAIN);
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
const withoutNulls = completionEvents(COST, false).join('');
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

/** What a server says that knows no `stream_options`. */
const NOT_PERMITTED = asJson(422, {
  object: 'error',
  message: { detail: [{ type: 'extra_forbidden', loc: ['body', 'stream_options'] }] },
});
/** Answers those that do not ask, and those that ask only if `takes` says so. */
const refusingUnless =
  (takes: (body: string) => boolean): Answer =>
  (seen, response) => {
    const refuses = asksForUsage(seen) && !takes(seen.body.toString());
    return (refuses ? NOT_PERMITTED : streamCompletion(COST))(seen, response);
  };
const bodiesSeen = ({ upstream }: Gateway) => upstream.seen.map(({ body }) => body.toString());

describe('an upstream that refuses to be asked', () => {
  const gateway = useGateway({ TIDEGATE_DIALECT: 'openai' });
  const refusing = refusingUnless(() => false);
  const ofModel = (model: string) => PLAIN.replace('gpt-test', model);

  it('is found out: the client gets its answer all the same, and no other is asked any more', async () => {
    gateway.upstream.answer = refusing;
    const before = (await gateway.tidegate.scope()).upstream.requests;
    const first = await gateway.exchange(request(PLAIN));
    expect([first.status, first.body.toString()]).toEqual([200, withoutNulls]);
    expect(bodiesSeen(gateway)).toEqual([SHAPED, PLAIN]);
    expect(gateway.upstream.seen[1]!.headers['accept-encoding']).toBe('gzip, br');
    await gateway.exchange(request(PLAIN));
    expect(bodiesSeen(gateway)).toEqual([SHAPED, PLAIN, PLAIN]);
    await gateway.settledUse();
    const { upstream } = await gateway.tidegate.scope();
    expect(upstream.requests - before, 'each one that was sent is charged').toBe(3);
    const said = (gateway.tidegate.out + gateway.tidegate.err).match(/streamUsage: leave/g);
    expect(said).toHaveLength(1);
  });

  it('gets a large body as it came, too', async () => {
    gateway.upstream.answer = refusing;
    const large = ofModel('large').replace('Hi', 'Hi '.repeat(20_000));
    expect((await gateway.exchange(request(large))).status).toBe(200);
    expect(gateway.upstream.seen).toHaveLength(2);
    expect(bodiesSeen(gateway)[1]).toBe(large);
  });

  it.each(['{"include_usage":false}', 'null', '{}', '{"include_obfuscation":true}'])(
    'gets options of the client’s own as they were: %s',
    async (options) => {
      gateway.upstream.answer = refusing;
      const body = ofModel(options.replace(/\W/g, '')).replace(
        'true,',
        `true,"stream_options":${options},`,
      );
      expect((await gateway.exchange(request(body))).status).toBe(200);
      expect(bodiesSeen(gateway)[1]).toBe(body);
    },
  );

  it('is asked by those whose model takes it', async () => {
    gateway.upstream.answer = refusingUnless((body) => body.includes('"new"'));
    for (const model of ['old', 'new', 'old', 'new']) {
      expect((await gateway.exchange(request(ofModel(model)))).status).toBe(200);
    }
    const [old, taking] = [ofModel('old'), asking(ofModel('new'))];
    expect(bodiesSeen(gateway)).toEqual([asking(old), old, taking, old, taking]);
  });

  it('is asked on where it has taken it once, whatever it refuses then', async () => {
    gateway.upstream.answer = refusingUnless((body) => !body.includes('"Ho"'));
    const hi = ofModel('moody');
    const ho = hi.replace('Hi', 'Ho');
    for (const body of [hi, ho, hi]) {
      expect((await gateway.exchange(request(body))).status).toBe(200);
    }
    expect(bodiesSeen(gateway)).toEqual([asking(hi), asking(ho), ho, asking(hi)]);
  });

  it('is left where its answer takes long, once that names the option', async () => {
    gateway.upstream.answer = (seen, response) => {
      if (!asksForUsage(seen)) return streamCompletion(COST)(seen, response);
      response.writeHead(400).write('{"error":"stream_options: Extra inputs are not permitted"');
    };
    expect((await gateway.exchange(request(ofModel('slow')))).status).toBe(200);
    await until(() => gateway.upstream.aborted === 1);
  });

  it('is not asked again by a client that has left', async () => {
    let refused = () => {};
    const begun = new Promise<void>((resolve) => (refused = resolve));
    gateway.upstream.answer = (_seen, response) => {
      response.writeHead(400).write('{"error":"stream_options: Extra inputs"', () => refused());
    };
    const { local } = await gateway.tidegate.scope();
    const wire = await gateway.connect();
    await wire.write(request(ofModel('left')));
    await begun;
    wire.destroy();
    await until(() => gateway.upstream.aborted === 1);
    gateway.upstream.answer = streamCompletion(COST);
    // Whatever was to be admitted in its wake is admitted before this one.
    expect((await gateway.exchange(request(SHAPED))).status).toBe(200);
    expect(bodiesSeen(gateway)).toEqual([asking(ofModel('left')), SHAPED]);
    expect((await gateway.tidegate.scope()).local.admitted - local.admitted).toBe(2);
  });

  it('is not asked again during a cooldown: the client is told to come back', async () => {
    gateway.upstream.answer = async (seen, response) => {
      gateway.upstream.answer = openAiError(429, 'requests', 'rate_limit_exceeded');
      expect((await gateway.exchange(request(ofModel('other')))).status).toBe(429);
      await NOT_PERMITTED(seen, response);
    };
    const { status, headers } = await gateway.exchange(request(ofModel('held')));
    expect([status, headers.get('tidegate-decision')]).toEqual([429, 'cooldown']);
    expect(gateway.upstream.seen).toHaveLength(2);
    await gateway.clearCooldown();
  });
});

describe('an upstream that repeats a bad request in its refusal', () => {
  const gateway = useGateway({ TIDEGATE_DIALECT: 'openai' });
  const BAD = PLAIN.replace('messages', 'massages');
  /** As servers built on pydantic do; so the refusal names what was added. */
  const repeating: Answer = (seen, response) => {
    const input = JSON.parse(seen.body.toString()) as Record<string, unknown>;
    const detail = [{ type: 'missing', loc: ['body', 'messages'], input }];
    const answer = 'messages' in input ? streamCompletion(COST) : asJson(400, { detail });
    return answer(seen, response);
  };

  it('does so with what its client sent, and everybody else’s streams are metered', async () => {
    gateway.upstream.answer = repeating;
    for (let round = 0; round < 2; round++) {
      const { status, body } = await gateway.exchange(request(BAD));
      expect(status).toBe(400);
      expect(JSON.parse(body.toString())).toMatchObject({ detail: [{ input: JSON.parse(BAD) }] });
      expect(body.toString()).not.toContain('stream_options');
      const before = await gateway.settledUse();
      await gateway.exchange(request(PLAIN));
      expect(bodiesSeen(gateway).at(-1)).toBe(SHAPED);
      await gateway.charges(before, 57);
    }
  });

  it('of another kind is asked once', async () => {
    gateway.upstream.answer = openAiError(400, 'invalid_request_error');
    const { status, body } = await gateway.exchange(request(PLAIN));
    expect([status, body.toString()]).toEqual([400, expect.stringContaining('No.')]);
    expect(bodiesSeen(gateway)).toEqual([SHAPED]);
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
