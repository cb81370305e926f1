import { endOf, startDemand, startRecorded, type RecordedRequest, type Send } from './demand.js';
import { afterTurn } from '../platform/timers.js';
import { Recorder } from './recorder.js';
import { totalsOf, type SimulationResult, type StrategyName } from './results.js';
import { seededRandom } from './seeded-random.js';
import { openStrategy } from './strategies.js';
import type { Process, Request, Strategy } from './strategy.js';
import { statementsOf } from './statements.js';
import { SimulatedUpstream } from './upstream.js';
import { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

export interface SimulationOptions {
  readonly strategy: StrategyName;
  /** Called now and then with the number of windows seen so far. */
  readonly onProgress?: (windows: number) => void;
  /** Requests at their own instants, in the place of the described demand; the run ends when the last would. */
  readonly recorded?: readonly RecordedRequest[];
  /** The upstream refused a request. */
  readonly onRefusal?: (request: Request, elapsedMs: number) => void;
  /** Told what the production governor reports; other strategies report nothing. */
  readonly onEvent?: (event: { readonly kind: string }, elapsedMs: number) => void;
}

/** Until the upstream's headers have come, as a share of the whole answer. */
const HEADERS_SHARE = 0.2;
/** What an answer without a stream takes. */
const REFUSAL_MS = 200;
/** A process manager's pause before it starts a dead process again, and what the start takes. */
const RESTART_MS = 3_000;
/** What an agent waits when nobody tells it, and after a connection that broke. */
const IMPATIENT_MS = 5_000;
/** No client waits longer than this, whatever it is told. */
const PATIENT_MS = 59_000;
/** Clients do not come back at the very millisecond. */
const SPREAD_MS = 500;
/** Windows of a fixed kind begin with a request, so a run takes longer than their sum; not this much. */
const LONGEST_RUN = 2;

/** The event loop gets its turn all the same, for whoever wants to end the run. */
const CALLS_A_TURN = 1_000;

interface Slot {
  process: Process<unknown> | null;
  /** Counts the processes so far. */
  generation: number;
  inFlight: number;
  /** Cuts each stream under way. */
  readonly streams: Set<() => void>;
}

/** Runs a world to its end. The same world, seed and strategy give the same result. */
export async function simulate(
  world: World,
  options: SimulationOptions,
): Promise<SimulationResult> {
  return new Simulation(world, options).run();
}

class Simulation {
  readonly #world: World;
  readonly #options: SimulationOptions;
  readonly #time = new VirtualTime();
  readonly #recorder: Recorder;
  readonly #strategy: Strategy;
  readonly #upstream: SimulatedUpstream;
  readonly #slots: Slot[];
  readonly #patience;

  constructor(world: World, options: SimulationOptions) {
    this.#world = world;
    this.#options = options;
    const time = this.#time;
    this.#strategy = openStrategy(options.strategy, world, time, (event) =>
      options.onEvent?.(event, time.elapsed),
    );
    this.#recorder = new Recorder(() => this.#strategy.budget());
    const chance = seededRandom(world.seed, 'upstream');
    this.#upstream = new SimulatedUpstream(world.upstream, time, chance, this.#recorder);
    this.#slots = Array.from({ length: world.replicas }, () => ({
      process: null,
      generation: 0,
      inFlight: 0,
      streams: new Set(),
    }));
    this.#patience = seededRandom(world.seed, 'clients');
  }

  async run(): Promise<SimulationResult> {
    const { upstream, demand, seed, windows } = this.#world;
    const { strategy, onProgress, recorded } = this.#options;
    const time = this.#time;
    for (let replica = 0; replica < this.#slots.length; replica += 1) await this.#start(replica);
    this.#planWorld();
    const retriesLeft = this.#world.demand.retries ?? Infinity;
    const send: Send = (request, agent, done) =>
      this.#attempt({ request, agent, done, since: null, retriesLeft });
    const left = recorded === undefined ? null : startRecorded(recorded, time, send);
    if (left === null) {
      startDemand({
        world: demand,
        limit: () => this.#upstream.limit,
        windowMs: upstream.windowMs,
        time,
        random: seededRandom(seed, 'demand'),
        send,
      });
    }
    const horizon =
      recorded === undefined ? LONGEST_RUN * windows * upstream.windowMs : endOf(recorded);
    let seen = 0;
    let calls = 0;
    while (this.#recorder.windows.length < windows && time.elapsed < horizon) {
      const call = time.next();
      if (call === null || left?.() === 0) break;
      void call();
      // All that it has set off happens before the next tick; none of it waits for a turn of the event loop,
      // which would take longer than the call did.
      await new Promise<void>(process.nextTick);
      if ((calls += 1) % CALLS_A_TURN === 0) await new Promise<void>(afterTurn);
      if (this.#recorder.windows.length === seen) continue;
      seen = this.#recorder.windows.length;
      onProgress?.(seen);
    }
    if (left !== null) this.#recorder.endWindow();
    return {
      windows: this.#recorder.windows,
      totals: totalsOf(this.#recorder.windows, {
        maxConsecutive429: this.#recorder.maxConsecutive429,
        budget: this.#recorder.budgets,
        orphanedTokens: this.#strategy.orphanedTokens?.() ?? 0,
      }),
      strategy,
      seed,
    };
  }

  /** What happens by itself, whatever is asked. */
  #planWorld(): void {
    const { clock, restarts, governor } = this.#world;
    const time = this.#time;
    for (const { atMs, stepMs } of clock) time.at(atMs, () => time.stepWall(stepMs));
    for (const { atMs, everyMs, count, kind } of restarts) {
      for (let round = 0; round < count; round += 1) {
        const replica = round % this.#slots.length;
        time.at(atMs + round * everyMs, () => this.#end(replica, kind));
      }
    }
    this.#tickEvery(governor.tickMs);
  }

  async #start(replica: number): Promise<void> {
    const slot = this.#slots[replica];
    if (slot === undefined) return;
    const process = await this.#strategy.start(replica);
    slot.generation += 1;
    slot.inFlight = 0;
    slot.process = process;
  }

  #end(replica: number, kind: 'kill' | 'stop'): void {
    const slot = this.#slots[replica];
    const process = slot?.process;
    if (slot === undefined || process === undefined || process === null) return;
    slot.process = null;
    if (kind === 'kill') {
      process.kill?.();
      slot.generation += 1;
      for (const cut of slot.streams) cut();
      slot.streams.clear();
      this.#time.after(RESTART_MS, () => this.#start(replica));
      return;
    }
    const drained = async (): Promise<void> => {
      if (slot.inFlight > 0) return void this.#time.after(REFUSAL_MS, drained);
      await process.stop?.();
      this.#time.after(RESTART_MS, () => this.#start(replica));
    };
    this.#time.after(0, drained);
  }

  #tickEvery(tickMs: number): void {
    this.#time.after(tickMs, async () => {
      this.#tickEvery(tickMs);
      for (const { process } of this.#slots) await process?.tick();
    });
  }

  /** Sends the request, again and again until it is answered or given up. */
  #attempt(call: Call): void | Promise<void> {
    const { request, agent, since } = call;
    const slot = this.#slots[agent % this.#slots.length] as Slot;
    const { process, generation } = slot;
    if (process === null) return this.#again(call, IMPATIENT_MS, since);
    const weigh = (answer: Awaited<ReturnType<typeof process.admit>>) => {
      if (since !== null) this.#recorder.waited(this.#time.elapsed - since);
      const first = since ?? this.#time.elapsed;
      if (answer.kind === 'refused') {
        this.#recorder.locallyRefused();
        return this.#again(call, answer.waitMs, first);
      }
      const retry = (waitMs: number) => this.#again(call, waitMs, first);
      const done = () => {
        this.#recorder.answered();
        call.done();
      };
      this.#forward({ request, slot, process, generation, pass: answer.pass, retry, done });
    };
    const answer = process.admit(request);
    return answer instanceof Promise ? answer.then(weigh) : weigh(answer);
  }

  /** What a client does that was told to come back, or that lost its connection. */
  #again(call: Call, waitMs: number, since: number | null): void {
    if (call.retriesLeft <= 0) {
      this.#recorder.gaveUp();
      return call.done();
    }
    const patientMs = Math.min(PATIENT_MS, waitMs) + SPREAD_MS * this.#patience();
    const next = { ...call, since, retriesLeft: call.retriesLeft - 1 };
    this.#time.after(patientMs, () => this.#attempt(next));
  }

  #forward(exchange: Exchange): void {
    const { slot, process, generation, pass, retry } = exchange;
    const time = this.#time;
    slot.inFlight += 1;
    const over = () => {
      if (slot.generation === generation) slot.inFlight -= 1;
    };
    const reception = this.#upstream.receive();
    if (reception.kind === 'accepted') return this.#stream(exchange, over);
    if (reception.kind === 'refused') this.#options.onRefusal?.(exchange.request, time.elapsed);
    time.after(REFUSAL_MS, () => {
      over();
      retry(reception.kind === 'refused' ? (reception.waitMs ?? IMPATIENT_MS) : IMPATIENT_MS);
      if (slot.generation !== generation) return undefined;
      if (reception.kind === 'overloaded') return process.overloaded?.(pass);
      const { transient, waitMs } = reception;
      const statements = transient ? [] : this.#statements();
      return process.refused(pass, { transient, waitMs, statements });
    });
  }

  /** An accepted request: its input is charged now, its output while it streams. */
  #stream({ request, slot, process, pass, retry, done }: Exchange, over: () => void): void {
    const { inputTokens, outputTokens, durationMs } = request;
    const time = this.#time;
    const upstream = this.#upstream;
    upstream.charge(inputTokens);
    const headersMs = HEADERS_SHARE * durationMs;
    const streamMs = Math.max(1, durationMs - headersMs);
    let rate = 0;
    let cancel = time.after(headersMs, () => {
      process.succeeded?.(pass, inputTokens, this.#statements());
      rate = outputTokens / streamMs;
      upstream.flow(rate);
      cancel = time.after(streamMs, () => {
        slot.streams.delete(cut);
        upstream.flow(-rate);
        over();
        process.finished(pass, request);
        done();
      });
    });
    // A killed proxy's connection is cut, and nothing more is generated.
    const cut = () => {
      cancel();
      upstream.flow(-rate);
      retry(IMPATIENT_MS);
    };
    slot.streams.add(cut);
  }

  #statements() {
    const { headers, windowMs } = this.#world.upstream;
    if (headers === 'none') return [];
    return statementsOf(headers, windowMs, this.#upstream.standing(), (elapsed) =>
      Math.round(this.#time.trueWall - this.#time.elapsed + elapsed),
    );
  }
}

/** A request until it is over. */
interface Call {
  readonly request: Request;
  readonly agent: number;
  readonly done: () => void;
  /** When it was first refused. */
  readonly since: number | null;
  readonly retriesLeft: number;
}

interface Exchange {
  readonly request: Request;
  readonly slot: Slot;
  readonly process: Process<unknown>;
  readonly generation: number;
  readonly pass: unknown;
  readonly retry: (waitMs: number) => void;
  readonly done: () => void;
}
