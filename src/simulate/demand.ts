import type { Random } from '../platform/random.js';
import { BYTES_PER_TOKEN, Conversation, DescribedTraffic } from './conversation.js';
import type { Request } from './strategy.js';
import { exponential } from './seeded-random.js';
import type { VirtualTime } from './virtual-time.js';
import type { DemandWorld, TracedRequest } from './world.js';

/** Carries a request to its end, however often it has to be sent; `done` is called then. */
export type Send = (request: Request, agent: number, done: () => void) => void;

export interface DemandOptions {
  readonly world: DemandWorld;
  /** The upstream's, now. */
  readonly limit: () => number;
  /** Of the upstream's window. */
  readonly windowMs: number;
  readonly time: VirtualTime;
  readonly random: Random;
  readonly send: Send;
}

/** Starts to ask, and goes on for as long as the time does. */
export function startDemand(options: DemandOptions): void {
  const { world, time } = options;
  let { load } = world;
  for (const change of world.changes) {
    time.at(change.atMs, () => {
      load = change.load;
    });
  }
  // Tokens a ms that are asked for now.
  const rate = () => (load * options.limit()) / options.windowMs;
  if (world.trace === null) describedDemand(options, rate);
  else tracedDemand(options, world.trace, rate);
}

/**
 * Requests at random instants (Poisson), each of a random agent. One whose request waits asks for
 * nothing else; without that, a blocked hour would pile up what no client keeps.
 */
function describedDemand(options: DemandOptions, rate: () => number): void {
  const { world, time, random, send, limit } = options;
  const traffic = new DescribedTraffic(world, limit, random);
  const agents = Array.from({ length: world.sessions }, () => ({
    conversation: new Conversation(traffic, random),
    waiting: false,
  }));
  const arrive = () => {
    time.after(exponential(random, traffic.meanCost() / rate()), arrive);
    const index = Math.floor(random() * agents.length);
    const agent = agents[index];
    // Drawn all the same: what others meet must not depend on who waits.
    const request = agent?.conversation.next();
    if (agent === undefined || request === undefined || agent.waiting) return;
    agent.waiting = true;
    send(request, index, () => {
      agent.waiting = false;
    });
  };
  time.after(exponential(random, traffic.meanCost() / rate()), arrive);
}

/** Recorded sessions, each from its beginning, as often as the load asks. */
function tracedDemand(
  { world, time, random, send }: DemandOptions,
  trace: readonly (readonly TracedRequest[])[],
  rate: () => number,
): void {
  const tokens = trace
    .flat()
    .reduce((sum, { inputTokens, outputTokens }) => sum + inputTokens + outputTokens, 0);
  const meanTokens = Math.max(1, tokens / trace.length);
  let started = 0;
  let waiting = 0;
  const run = (requests: readonly TracedRequest[], session: string, agent: number, at: number) => {
    const request = requests[at];
    if (request === undefined) return;
    waiting += 1;
    const { inputTokens, cachedTokens } = request;
    const bodyBytes = Math.round((inputTokens + cachedTokens) * BYTES_PER_TOKEN);
    send({ ...request, session, bodyBytes }, agent, () => {
      waiting -= 1;
      const following = requests[at + 1];
      if (following === undefined) return;
      const pauseMs = Math.max(0, following.atMs - request.atMs - request.durationMs);
      time.after(pauseMs, () => run(requests, session, agent, at + 1));
    });
  };
  const start = () => {
    time.after(exponential(random, meanTokens / rate()), start);
    const requests = trace[Math.floor(random() * trace.length)];
    started += 1;
    if (requests === undefined || waiting >= world.sessions) return;
    run(requests, `t${started}`, started, 0);
  };
  time.after(0, start);
}

export interface RecordedRequest {
  /** Since the start of the run. */
  readonly atMs: number;
  /** Number of the request that had to be over before this one was sent; null for none. */
  readonly after: number | null;
  readonly request: Request;
}

/** When the last of them would be over, had nothing held it up. */
export function endOf(recorded: readonly RecordedRequest[]): number {
  return recorded.reduce((end, { atMs, request }) => Math.max(end, atMs + request.durationMs), 0);
}

/** Sends each request at its instant, or once the one that it waited for is over. Returns how many are left. */
export function startRecorded(
  recorded: readonly RecordedRequest[],
  time: VirtualTime,
  send: Send,
): () => number {
  let left = recorded.length;
  const waiting = new Map<number, number[]>();
  for (const [index, { after }] of recorded.entries()) {
    if (after !== null) waiting.set(after, [...(waiting.get(after) ?? []), index]);
  }
  const start = (index: number) => {
    const { atMs, request } = recorded[index] as RecordedRequest;
    time.at(atMs, () =>
      send(request, index, () => {
        left -= 1;
        for (const next of waiting.get(index) ?? []) start(next);
      }),
    );
  };
  for (const [index, { after }] of recorded.entries()) if (after === null) start(index);
  return () => left;
}
