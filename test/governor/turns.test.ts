import { describe, expect, it } from 'vitest';
import type { Admission, AdmissionOutcome } from '../../src/governor/admission.js';
import type { Denial } from '../../src/governor/admit.js';
import { WaitingLine } from '../../src/governor/waiting-line.js';
import { seededRandom } from '../../src/simulate/seeded-random.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryDisk, MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import { emptyScopeState } from '../../src/state/scope-state.js';
import { ManualTime } from '../support/manual-time.js';
import { HOUR, limit, MINUTE, SCOPE, SECOND, success, Town, twice } from './support.js';

/** A thousand tokens a second. */
const BUDGET = 60_000;
const BUCKET = limit({ kind: 'bucket', windowMs: MINUTE, budget: BUDGET });

interface Agent {
  readonly name: string;
  readonly tokens: number;
  /** How often it comes back when it is refused, before it gives the request up. */
  readonly retries: number;
}

interface Fate {
  /** From the first try, in ms. */
  readonly waits: number[];
  givenUp: number;
}

/** Agents that ask, one request after another, and come back when they are told to. */
class Crowd {
  readonly fates = new Map<string, Fate>();
  tokens = 0;
  readonly #random = seededRandom(1, 'agents');

  constructor(readonly towns: readonly Town[]) {}

  async run(agents: readonly Agent[], forMs: number): Promise<void> {
    for (const [index, agent] of agents.entries()) {
      this.fates.set(agent.name, { waits: [], givenUp: 0 });
      this.#next(agent, index % this.towns.length);
    }
    const [town] = this.towns as [Town];
    while (town.time.monotonic() < forMs) await town.pass(100);
  }

  fate(name: string): Fate {
    return this.fates.get(name) as Fate;
  }

  /** Its next request differs in size from the one before, and from everybody's. */
  #next(agent: Agent, place: number): void {
    const tokens = Math.round(agent.tokens * (0.7 + 0.6 * this.#random()));
    this.#after(1_500 + 2_000 * this.#random(), place, () => {
      void this.#ask(agent, tokens, place, { since: this.#now, tries: 0 });
    });
  }

  async #ask(
    agent: Agent,
    tokens: number,
    place: number,
    { since, tries }: { readonly since: number; readonly tries: number },
  ): Promise<void> {
    const { governor } = this.towns[place] as Town;
    const { name: session } = agent;
    const asked = { requestId: '', model: session, session, bodyBytes: bytesOf(tokens) };
    const outcome = await governor.admit(SCOPE, asked);
    const fate = this.fate(agent.name);
    if (outcome.kind === 'admitted') {
      fate.waits.push(this.#now - since);
      this.tokens += tokens;
      this.#after(2_000, place, () => {
        governor.succeeded(outcome.admission, []);
        governor.settle(outcome.admission, success(tokens));
        this.#next(agent, place);
      });
    } else if (tries < agent.retries) {
      const again = () => void this.#ask(agent, tokens, place, { since, tries: tries + 1 });
      this.#after(toldMs(outcome) + 300 * this.#random(), place, again);
    } else {
      fate.givenUp += 1;
      this.#next(agent, place);
    }
  }

  get #now(): number {
    return (this.towns[0] as Town).time.monotonic();
  }

  #after(delayMs: number, place: number, call: () => void): void {
    (this.towns[place] as Town).time.after(delayMs, call);
  }
}

/** See Town.ask. */
function bytesOf(tokens: number): number {
  return Math.round((tokens - 405) / 0.3);
}

/** As the proxy states it: whole seconds, from one to 59. */
function toldMs(outcome: AdmissionOutcome): number {
  if (outcome.kind !== 'refused') throw new Error(outcome.kind);
  const waitMs = outcome.denial.until - outcome.denial.now;
  return Math.min(59, Math.max(1, Math.ceil(waitMs / SECOND))) * SECOND;
}

function crowdOf(small: number, retries: number): Agent[] {
  const agents = Array.from({ length: small }, (_, index) => {
    return { name: `small-${index}`, tokens: 5_000, retries };
  });
  return [...agents, { name: 'large', tokens: 30_000, retries }];
}

/** What a line of all of them takes, and the 59 seconds' bound of what a client is told. */
const lineMs = (small: number) => small * 5_500 + 39_000 + 10_000;

it.each([4, 12])(
  'with %i small agents at a bucket, a large one waits no longer than they do',
  async (small) => {
    const crowd = new Crowd([await Town.open({ limits: [BUCKET] })]);
    // As often as the providers' own SDKs (wire facts §4.1).
    await crowd.run(crowdOf(small, 2), HOUR);
    for (const [name, { waits, givenUp }] of crowd.fates) {
      expect(givenUp, name).toBe(0);
      expect(waits.length, name).toBeGreaterThan(25);
      expect(Math.max(...waits), name).toBeLessThan(lineMs(small));
    }
    // All of the budget is used all the while: a whole bucket, and an hour's worth.
    expect(crowd.tokens).toBeGreaterThan(HOUR);
  },
);

it.each([0, 2])('clients that give up after %i retries leave no room unused', async (retries) => {
  const crowd = new Crowd([await Town.open({ limits: [BUCKET] })]);
  await crowd.run(crowdOf(12, retries), 15 * MINUTE);
  expect(crowd.tokens).toBeGreaterThan(0.98 * 15 * MINUTE);
});

/** Two instances that share a store. */
async function replicas(limits = [BUCKET]): Promise<[Town, Town]> {
  const time = new ManualTime();
  const disk = new MemoryDisk();
  const open = (instance: string) => {
    // One that is started anew has a repository of its own.
    const wrap = () => new MemoryStateRepository(new SteadyClock(time), disk, true);
    return Town.open({ limits, time, wrap, instance });
  };
  return [await open('a'), await open('b')];
}

it('replicas keep the turns of one another', async () => {
  const crowd = new Crowd(await replicas());
  await crowd.run(crowdOf(9, 10), HOUR);
  for (const [name, { waits, givenUp }] of crowd.fates) {
    expect(givenUp, name).toBe(0);
    expect(Math.max(...waits), name).toBeLessThan(lineMs(9));
  }
  expect(crowd.tokens).toBeGreaterThan(0.99 * HOUR);
});

it('who comes back when it was told to finds the room that was promised to it', async () => {
  const town = await Town.open({ limits: [BUCKET] });
  await town.call(55_000);
  const large = { bodyBytes: bytesOf(40_000), session: 'large' };
  const small = { bodyBytes: bytesOf(4_000), session: 'small' };
  const refused = await town.ask(large);
  expect(refused).toMatchObject({
    kind: 'refused',
    denial: { decision: 'budget', promised: false },
  });
  // There would be room for it, but not for both.
  const behind = await town.ask(small);
  expect(behind).toMatchObject({ kind: 'refused', denial: { decision: 'budget', promised: true } });
  await town.pass(toldMs(refused));
  expect((await town.ask(small)).kind).toBe('refused');
  expect((await town.ask(large)).kind).toBe('admitted');
  await town.pass(toldMs(behind) - toldMs(refused));
  expect((await town.ask(small)).kind).toBe('admitted');
});

const LARGE = { bodyBytes: bytesOf(40_000), session: 'large' };
const SMALL = { bodyBytes: bytesOf(4_000), session: 'small' };
/** A large request would have to wait for more than two minutes. */
const SLOW = { ...BUCKET, windowMs: 4 * MINUTE };
/** The longest wait that a client is told, and what it may be late. */
const LONGEST_MS = 65 * SECOND;

describe('what was promised', () => {
  it('goes to others when nobody has come for it', async () => {
    const town = await Town.open({ limits: [SLOW] });
    await town.call(55_000);
    expect((await town.ask(LARGE)).kind).toBe('refused');
    await town.pass(LONGEST_MS - 1);
    expect((await town.ask(SMALL)).kind).toBe('refused');
    await town.pass(1);
    expect((await town.ask(SMALL)).kind).toBe('admitted');
  });

  it('is not kept where a fixed window is full as well', async () => {
    const fixed = limit({ name: 'day', windowMs: 24 * HOUR, budget: 90_000 });
    const town = await Town.open({ limits: [BUCKET, fixed] });
    await town.call(55_000);
    expect(await town.ask(LARGE)).toMatchObject({ denial: { limit: 'day' } });
    expect((await town.ask(SMALL)).kind).toBe('admitted');
  });

  it('is not kept for longer, should the clock go back', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await town.call(55_000);
    const state = town.disk.scopes.get(SCOPE)!;
    const turn = { since: 0, until: town.time.wall() + HOUR, amounts: { tokens: 40_000 } };
    const instances = { ...state.hot.instances, b: { ...state.hot.instances['a']!, turn } };
    town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, instances } });
    expect((await town.ask(SMALL)).kind).toBe('admitted');
  });

  it('to whom else is known of so many, and of no more', () => {
    const line = new WaitingLine();
    const refuse = (key: string) => {
      const denial = { until: 60_000, now: 0 } as Denial;
      line.note(key, { kind: 'refused', denial, weighed: emptyScopeState(), wanted: { a: 1 } });
    };
    for (let index = 0; index < 300; index += 1) refuse(String(index));
    expect(line.before('new', 0).promises).toEqual({ a: { all: 256, next: 1 } });
    refuse('7');
    expect(line.before('7', 0).promises).toEqual({ a: { all: 7, next: 1 } });
  });

  it('is not lost to who has come for it, and is held back for a moment', () => {
    const line = new WaitingLine();
    const weighed = emptyScopeState();
    const at = (now: number) => ({ until: now + SECOND, now }) as Denial;
    line.note('a', { kind: 'refused', denial: at(0), weighed, wanted: { tokens: 1 } });
    line.note('a', { kind: 'held', denial: at(5 * SECOND), weighed });
    // Held back for its own sake, and not for room.
    line.note('b', { kind: 'held', denial: at(5 * SECOND), weighed });
    expect(line.before('c', 10 * SECOND).promises).toEqual({ tokens: { all: 1, next: 1 } });
    expect(line.before('a', 5 * SECOND).isDue).toBe(true);
  });

  it('is still its own when the decision has to be made anew', async () => {
    const town = await Town.open({ limits: [BUCKET], wrap: twice });
    await town.call(55_000);
    const refused = await town.ask(LARGE);
    expect((await town.ask(SMALL)).kind).toBe('refused');
    await town.pass(toldMs(refused));
    expect((await town.ask(LARGE)).kind).toBe('admitted');
  });

  it('costs a store that nobody shares no write', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await town.call(55_000);
    await town.ask(LARGE);
    const { hot } = town.disk.scopes.get(SCOPE)!;
    expect(hot.instances['a']?.turn).toBeNull();
  });

  const ENDS: [string, (a: Town) => Promise<void>][] = [
    ['restart', (a) => a.crash()],
    ['stop', (a) => a.stop()],
    ['never come back', (a) => a.pass(LONGEST_MS)],
  ];
  it.each(ENDS)('by an instance that others share a store with: until it %s', async (_, end) => {
    const [a, b] = await replicas([SLOW]);
    await a.call(55_000);
    expect((await a.ask(LARGE)).kind).toBe('refused');
    await b.pass(1);
    expect((await b.ask(SMALL)).kind).toBe('refused');
    await end(a);
    expect((await b.ask(SMALL)).kind).toBe('admitted');
  });
});

describe('who comes back when it was told to, and finds its time put off', () => {
  const THOUGHT = 1_000;
  const REQUEST = { requestId: 'r', model: 'm', ...LARGE };

  /** LARGE has been refused, and told to come back in as many seconds as it is short of thousands. */
  class Absence {
    private constructor(
      readonly town: Town,
      readonly inFlight: Admission[],
      readonly toldMs: number,
    ) {}

    static async begin(): Promise<Absence> {
      const town = await Town.open({ limits: [BUCKET] });
      const inFlight = [];
      for (let index = 0; index < 4; index += 1) {
        inFlight.push(await town.admit({ bodyBytes: bytesOf(THOUGHT), model: 'other' }));
      }
      await town.call(50_000);
      return new Absence(town, inFlight, toldMs(await town.ask(LARGE)));
    }

    /** Something that is in flight turns out to have cost more than was thought, which puts everybody off. */
    async putOff(bySeconds: number): Promise<void> {
      const admission = this.inFlight.pop()!;
      this.town.governor.succeeded(admission, []);
      await this.town.settle(admission, success(THOUGHT + bySeconds * 1_000));
    }

    /** `outcome`: what has come of it so far. */
    async comeBack(): Promise<{ readonly outcome: AdmissionOutcome | null }> {
      const back: { outcome: AdmissionOutcome | null } = { outcome: null };
      void this.town.governor.admit(SCOPE, REQUEST).then((outcome) => (back.outcome = outcome));
      await this.town.pass(0);
      return back;
    }
  }

  it('by moments, waits here and passes', async () => {
    const absence = await Absence.begin();
    const { town } = absence;
    await town.pass(absence.toldMs);
    await absence.putOff(3);
    const back = await absence.comeBack();
    await town.pass(2_000);
    expect(back.outcome).toBeNull();
    await town.pass(1_000);
    expect(back.outcome?.kind).toBe('admitted');
    expect((await town.view()).counters.refused).toBe(1);
  });

  it('again and again, waits for six seconds in all, and is then told its time', async () => {
    const absence = await Absence.begin();
    await absence.town.pass(absence.toldMs);
    await absence.putOff(3);
    const back = await absence.comeBack();
    for (const bySeconds of [3, 2]) {
      await absence.town.pass(2_000);
      expect(back.outcome).toBeNull();
      await absence.putOff(bySeconds);
      await absence.town.pass(1_000);
    }
    expect(back.outcome).toMatchObject({ kind: 'refused', denial: { decision: 'budget' } });
    expect(toldMs(back.outcome!)).toBe(2 * SECOND);
    await absence.town.pass(250);
    expect((await absence.town.view()).counters.refused).toBe(2);
  });

  it('by more than six seconds, is told so at once', async () => {
    const absence = await Absence.begin();
    await absence.town.pass(absence.toldMs);
    await absence.putOff(8);
    const back = await absence.comeBack();
    expect(toldMs(back.outcome!)).toBe(8 * SECOND);
  });

  it('is told so at once when it comes too soon', async () => {
    const absence = await Absence.begin();
    await absence.town.pass(absence.toldMs - SECOND);
    expect((await absence.comeBack()).outcome?.kind).toBe('refused');
  });

  it('waits also when it was told a shorter time: 59 seconds are the longest', async () => {
    const absence = await Absence.begin();
    await absence.town.pass(absence.toldMs);
    await absence.putOff(63);
    expect((await absence.comeBack()).outcome?.kind).toBe('refused');
    await absence.town.pass(59 * SECOND);
    const back = await absence.comeBack();
    await absence.town.pass(4 * SECOND);
    expect(back.outcome?.kind).toBe('admitted');
  });

  it('is told so at once when the process is about to stop', async () => {
    const absence = await Absence.begin();
    await absence.town.pass(absence.toldMs);
    await absence.putOff(3);
    const back = await absence.comeBack();
    expect(back.outcome).toBeNull();
    absence.town.governor.releaseHeld();
    await absence.town.pass(0);
    expect(back.outcome?.kind).toBe('refused');
    expect((await absence.comeBack()).outcome?.kind).toBe('refused');
  });
});
