import { Agent, request as httpRequest } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { SeenRequest } from './fake-upstream.js';
import type { TracedRequest } from './traffic.js';

/** Names the request of a trace to the upstream that plays its part. */
const HEADER = 'x-replayed-request';
/** Of the prompt's JSON; the governor has to find that out. */
export const BYTES_PER_TOKEN = 3.5;
const MOST_BYTES = 8 * 1024 * 1024;
const MOST_EVENTS = 50;

/** The upstream's part of a trace: answers each request with its usage, as a stream. */
export function playUpstream(trace: readonly TracedRequest[], timeScale: number) {
  return async ({ headers }: SeenRequest, response: ServerResponse): Promise<void> => {
    const traced = trace[Number(headers[HEADER])] as TracedRequest;
    const events = streamOf(traced);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const pauseMs = (traced.seconds * 1000) / timeScale / events.length;
    for (const event of events) {
      if (pauseMs >= 1) await new Promise((resolve) => setTimeout(resolve, pauseMs));
      if (!response.write(event)) await new Promise((resolve) => response.once('drain', resolve));
    }
    response.end();
  };
}

/** The events of an answer, in order, each numbered so that a lost or moved one shows. */
export function streamOf({ input, cacheRead, output }: TracedRequest): string[] {
  const event = (type: string, data: object) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  // A part of the uncached prompt is written to the cache: both count.
  const fresh = Math.min(input, 4);
  const usage = {
    input_tokens: fresh,
    cache_creation_input_tokens: input - fresh,
    cache_read_input_tokens: cacheRead,
    output_tokens: 1,
  };
  const deltas = Math.max(1, Math.min(MOST_EVENTS, Math.round(output / 4)));
  return [
    event('message_start', { message: { id: 'msg', usage } }),
    ...Array.from({ length: deltas }, (_, index) =>
      event('content_block_delta', {
        index: 0,
        delta: { type: 'text_delta', text: `word ${index} of an answer` },
      }),
    ),
    event('message_delta', {
      delta: { stop_reason: 'end_turn' },
      usage: { output_tokens: output },
    }),
    event('message_stop', {}),
  ];
}

/** One session's client: a growing conversation over one pool of connections. */
class ReplayClient {
  readonly #agent = new Agent({ keepAlive: true });

  constructor(private readonly proxyUrl: string) {}

  /** Resolves to the status and the body as it came. */
  ask(traced: TracedRequest, index: number): Promise<{ status: number; body: string }> {
    const tokens = traced.input + traced.cacheRead;
    const filler = 'x'.repeat(Math.min(MOST_BYTES, Math.round(tokens * BYTES_PER_TOKEN)));
    const content = JSON.stringify({
      model: traced.model,
      max_tokens: 32_000,
      stream: true,
      messages: [
        { role: 'user', content: `Session ${traced.session}.` },
        { role: 'user', content: filler },
      ],
    });
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        `${this.proxyUrl}/v1/messages`,
        {
          method: 'POST',
          agent: this.#agent,
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(content),
            'x-api-key': 'sk-ant-test',
            'x-claude-code-session-id': traced.session,
            [HEADER]: String(index),
          },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () =>
            resolve({
              status: answer.statusCode ?? 0,
              body: Buffer.concat(chunks).toString(),
            }),
          );
        },
      );
      outgoing.on('error', reject);
      outgoing.end(content);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** All sessions at once, each in its own order and at its own (scaled) times. Returns what went wrong. */
export async function replaySessions(
  proxyUrl: string,
  trace: readonly TracedRequest[],
  timeScale: number,
): Promise<string[]> {
  const faults: string[] = [];
  const began = performance.now();
  const sessions = Map.groupBy(trace.entries(), ([, { session }]) => session);
  await Promise.all(
    [...sessions].map(async ([session, requests]) => {
      const client = new ReplayClient(proxyUrl);
      for (const [index, traced] of requests) {
        const waitMs = (traced.t * 1000) / timeScale - (performance.now() - began);
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        const { status, body } = await client.ask(traced, index);
        if (status !== 200) faults.push(`${session}: status ${status}: ${body}`);
        else if (body !== streamOf(traced).join(''))
          faults.push(`${session}: events lost or moved`);
      }
      client.close();
    }),
  );
  return faults;
}

/** What the limits count of a trace. */
export function tokensOf(trace: readonly TracedRequest[]): number {
  return trace.reduce((sum, { input, output }) => sum + input + output, 0);
}
