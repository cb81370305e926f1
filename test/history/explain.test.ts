import { beforeEach, describe, expect, it } from 'vitest';
import { ExplainController } from '../../src/admin/explain.controller.js';
import type { Explanation } from '../../src/admin/explanation.js';
import type { ControlPlane } from '../../src/cli/control-client.js';
import { explainInWords } from '../../src/cli/explain-text.js';
import type { DataPlane } from '../../src/data-plane.js';
import type { UpstreamRefusal } from '../../src/governor/verdict.js';
import { History } from '../../src/history/history.js';
import { SILENT_LOG } from '../../src/platform/log.js';
import type { Exchange } from '../../src/proxy/exchange.js';
import { LocalAnswers } from '../../src/proxy/local-answers.js';
import { ProxyTally } from '../../src/proxy/proxy-tally.js';
import { DAY, HOUR, limit, MINUTE, SCOPE, SECOND, success, Town } from '../governor/support.js';
import { MemoryEventJournal } from '../support/memory-journal.js';

/**
 * From the governor's denial by way of the proxy's answer and the journal to what /explain and
 * `tidegate explain` say of it: the right reason, the right limit or pool, and when it frees.
 */
const OPUS = 'claude-opus-4-1';
const POOL = limit({ name: '7d_opus', windowMs: 7 * DAY, models: ['claude-opus-*'] });
const WEEK = { limits: [{ name: '7d_opus', windowMs: 7 * DAY }] };

let town: Town;
let history: History;
let journal: MemoryEventJournal;
let count: number;
let control: ControlPlane;
let probeEveryMs: number;

async function open(...limits: Parameters<typeof limit>): Promise<void> {
  town = await Town.open({ limits: [limit(...limits), POOL] });
  journal = new MemoryEventJournal();
  history = openHistory();
  count = 0;
  control = { url: 'http://10.0.0.7:9999', token: null };
  probeEveryMs = HOUR;
}

beforeEach(() => open());

function openHistory(): History {
  const scopes = [{ name: SCOPE, limits: town.rules }];
  const parts = { repository: town.repository, journal, timers: town.time };
  return new History({ ...parts, scopes, onProblem: () => {} });
}

async function explained(requestId: string): Promise<{ json: Explanation; words: string }> {
  const clock = { now: () => town.time.wall() };
  const config = { backoff: { probeEveryMs } };
  const plane = { history, clock, config } as unknown as DataPlane;
  const json = await new ExplainController(plane).explain(requestId);
  const told = JSON.parse(JSON.stringify(json)) as Explanation;
  return { json, words: explainInWords(told, control) };
}

type Asked = ReturnType<Town['ask']>;

/** The answer that the proxy gives to it, and what is said of that later. */
async function refused(asked: Asked | Awaited<Asked>, model = 'm') {
  const outcome = await asked;
  if (outcome.kind !== 'refused') throw new Error(`not refused: ${outcome.kind}`);
  let headers: Readonly<Record<string, string>> = {};
  const answers = new LocalAnswers({
    log: SILENT_LOG,
    now: () => town.time.wall(),
    maxRetryAfterMs: MINUTE,
    tally: new ProxyTally([SCOPE], []),
    onRefused: (refusal) => history.note(refusal),
  });
  const requestId = `tg_0123abcd${(count += 1)}`;
  const exchange = {
    requestId,
    record: null,
    answer: (_: unknown, options: { headers: typeof headers }) => (headers = options.headers),
  };
  answers.deny(exchange as unknown as Exchange, outcome, { scope: SCOPE, model });
  const { json, words } = await explained(requestId);
  expect(json).toMatchObject({ requestId, scope: SCOPE, model });
  expect(json.decision).toBe(headers['tidegate-decision']);
  expect(json.blockedUntil, 'as the client was told').toBe(headers['tidegate-blocked-until']);
  return { json, words, requestId, inMs: Date.parse(json.blockedUntil) - Date.parse(json.at) };
}

async function upstreamRefuses(model: string, how: Partial<UpstreamRefusal> = {}): Promise<void> {
  await town.refuse(await town.admit({ model }), how);
}

describe('a refusal while a probe is out', () => {
  it('names the cooldown before it, the probe, and the next second', async () => {
    await upstreamRefuses('m', { statedWaitMs: HOUR });
    await town.pass(2 * HOUR);
    await town.admit();
    const { json, words, requestId, inMs } = await refused(town.ask());
    expect(inMs).toBe(SECOND);
    expect(json).toMatchObject({
      decision: 'probing',
      limit: null,
      pool: null,
      ramp: null,
      probesOut: 1,
      cooldown: { kind: 'quota', consecutive: 1, statedWaitMs: HOUR, requestId: 'r' },
    });
    expect(words).toContain(`That was over; one request was finding out whether`);
    expect(words).toContain(`It was to come back at ${json.blockedUntil}.`);
    expect(words).not.toContain('Nothing passes before');
    // Another process, later: from the journal.
    await history.close();
    history = openHistory();
    expect((await explained(requestId)).json).toEqual(json);
  });

  it.each([
    ['a limit’s', OPUS, WEEK, { limit: '7d_opus', pool: '7d_opus' }],
    [
      'a model’s own',
      'claude-fable-5',
      { limits: [{ name: '7d_oi', windowMs: 7 * DAY }] },
      { limit: null, pool: 'claude-fable-5' },
    ],
  ])('in %s pool names the pool', async (_, model, how, expected) => {
    await upstreamRefuses(model, { ...how, statedWaitMs: HOUR });
    const before = await refused(town.ask({ model }), model);
    expect(before.json).toMatchObject({ decision: 'cooldown', ...expected });
    expect(before.words).toContain(`It holds back ${expected.pool} only.`);
    await town.pass(2 * HOUR);
    await town.admit({ model });
    const { json, words } = await refused(town.ask({ model }), model);
    expect(json).toMatchObject({ decision: 'probing', probesOut: 1, ramp: null, ...expected });
    expect(json.cooldown).toEqual(before.json.cooldown);
    expect(words).toContain(`It holds back ${expected.pool} only.`);
  });
});

describe('what to do', () => {
  it('is a command that works there: address, scope, and the token where one is needed', async () => {
    await upstreamRefuses('m', { statedWaitMs: 22 * SECOND });
    const { words, requestId } = await refused(town.ask());
    const target = `'http://10.0.0.7:9999/cooldown/clear?scope=${SCOPE}'`;
    expect(words).toContain(`accepts again: curl -X POST ${target}\n`);
    expect(words, 'too short for that').not.toContain('1h');
    control = { url: 'https://tide.example', token: 'secret-secret-secret' };
    const other = (await explained(requestId)).words;
    expect(other).toContain(
      `curl -X POST -H "Authorization: Bearer $TIDEGATE_ADMIN_TOKEN" 'https://tide.example/cooldown/clear?scope=${SCOPE}'`,
    );
    expect(other).not.toContain('secret-secret-secret');
  });

  it.each([
    [HOUR, ', and every 1h before.', 'but for one request every 1h'],
    [0, ' when the cooldown ends.', 'Nothing passes before'],
  ])(
    'says that a long cooldown is tried only where it is: every %i ms',
    async (every, ...texts) => {
      await upstreamRefuses('m', { statedWaitMs: 3 * HOUR });
      probeEveryMs = every;
      const { words, json } = await refused(town.ask());
      for (const text of texts) expect(words).toContain(text);
      expect(json.cooldown!.triedEveryMs).toBe(every === 0 ? null : every);
    },
  );

  it('says that one pool waits, and not all', async () => {
    await upstreamRefuses(OPUS, { ...WEEK, statedWaitMs: 22 * SECOND });
    const { words, json } = await refused(town.ask({ model: OPUS }), OPUS);
    expect(words).toContain(`No request of 7d_opus passes before ${json.blockedUntil}.`);
    expect(words).not.toContain('Nothing passes');
  });

  it('about a budget depends on whose it is', async () => {
    await open({ budget: 1_000 });
    await town.call(1_000);
    const { words } = await refused(town.ask());
    expect(words).toContain("or raise TIDEGATE_BUDGET (in the file, the limit's budget)");
    expect(words, 'nothing was learned').not.toContain('budget/reset');
  });

  it.each([
    [HOUR, 'quota', HOUR],
    [MINUTE, 'unknown', MINUTE],
    [0, 'quota', null],
    [2 * HOUR, 'quota', null],
  ] as const)(
    'about one that was learned is no higher one, and says that it is looked into: every %i ms',
    async (every, kind, told) => {
      await open({ budget: 20_000 });
      await town.call(10_000);
      await upstreamRefuses('m', { kind, statedWaitMs: kind === 'quota' ? 8 * MINUTE : null });
      await town.pass(8 * MINUTE + MINUTE);
      if (kind === 'quota') await town.call(9_700);
      else await upstreamRefuses('m', { kind });
      await town.pass(5 * MINUTE);
      probeEveryMs = every;
      const { words, json } = await refused(town.ask());
      const { budget } = json.limits[0]!;
      expect(budget).toMatchObject({ source: 'learned', configured: 20_000 });
      const inWindow = kind === 'quota' ? 4 : 1;
      expect(budget.triedEveryMs).toBe(told === null ? null : inWindow * told);
      expect(words.includes('one request finds out whether the upstream takes more')).toBe(
        told !== null,
      );
      expect(words).not.toContain('raise TIDEGATE_BUDGET');
      expect(words).toContain('budget/reset');
    },
  );

  it('while cautious is to wait until that is over', async () => {
    await open();
    await town.repository.update(SCOPE, (state, now) => {
      const lost = { reason: 'restored', at: now, recordedAt: null } as const;
      return { state: { ...state, hot: { ...state.hot, lost } }, outcome: undefined };
    });
    const flight = await town.admit();
    const { words, json } = await refused(town.ask());
    expect(json).toMatchObject({ decision: 'budget', cautious: { reason: 'restored' } });
    expect(words).toContain('caution ends with the first limit header of the upstream');
    expect(words).toContain(json.cautious!.until);
    expect(words).not.toMatch(/raise|budget\/reset|used up/);
    expect(words).toContain('tokens, no budget yet');
    await town.settle(flight, success(10));
  });
});

it('is explained for a day, and no longer', async () => {
  await upstreamRefuses('m', { statedWaitMs: 3 * DAY });
  const { requestId } = await refused(town.ask());
  await town.pass(DAY);
  expect((await explained(requestId)).json).toMatchObject({ decision: 'cooldown' });
  await town.pass(1);
  await expect(explained(requestId)).rejects.toThrow();
});

/** For longer than anybody is held back, in steps, so that everything may happen in between. */
async function waitInVain(): Promise<void> {
  for (let step = 0; step < 25; step += 1) await town.pass(250);
}

describe('a request that was held back for too long', () => {
  it('while admission ramps up: how many were in flight, and how many may be', async () => {
    for (let flying = 0; flying < 16; flying += 1) await town.admit();
    const asked = [...Array(40).keys()].map(() => town.ask());
    await waitInVain();
    const outcomes = await Promise.all(asked);
    const told = outcomes.find(({ kind }) => kind === 'refused');
    const { json, words, inMs } = await refused(told as Awaited<Asked>);
    expect(inMs).toBe(SECOND);
    expect(json).toMatchObject({ decision: 'probing', limit: null, cooldown: null });
    expect(json.ramp!.inFlight).toBeGreaterThanOrEqual(json.ramp!.allowance);
    expect(words).toContain(
      `${json.ramp!.inFlight} requests were in flight where ${json.ramp!.allowance} may be`,
    );
  });

  it('near a learned limit: which limit what is in flight may have used up', async () => {
    await open({ budget: 20_000, windowMs: HOUR });
    await town.call(9_000);
    await town.call(1_000);
    await upstreamRefuses('refused', { statedWaitMs: 10 * MINUTE });
    await town.pass(11 * MINUTE);
    const probe = await town.admit({ model: 'probe' });
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(8_700));
    await town.pass(MINUTE);
    await town.admit();
    const asked = town.ask();
    await waitInVain();
    const { json, words } = await refused(asked);
    expect(json).toMatchObject({ decision: 'probing', limit: 'tokens', pool: null, ramp: null });
    expect(words).toContain('What was in flight may have used up limit tokens already');
    expect(words).toContain('* tokens: used ');
  });
});

it('a refusal for the sake of those that were refused before says so', async () => {
  await history.close();
  const bucket = limit({ kind: 'bucket', windowMs: MINUTE, budget: 60_000 });
  town = await Town.open({ limits: [bucket] });
  history = openHistory();
  await town.call(50_000);
  await refused(town.ask({ bodyBytes: 150_000 }));
  const { json, words } = await refused(town.ask({ bodyBytes: 1_000 }));
  expect(json).toMatchObject({ decision: 'budget', limit: 'tokens', promised: true });
  expect(words).toContain('limit tokens was promised to requests that had been refused before');
});

describe('a terminal refusal', () => {
  it('says that waiting does not cure it, and when Tidegate looks again', async () => {
    // Whatever the upstream states: the end of the month is no time to look again.
    await upstreamRefuses('m', { status: 400, kind: 'terminal', statedWaitMs: 5 * DAY });
    const { json, words, inMs } = await refused(town.ask());
    expect(inMs).toBe(HOUR - 250);
    expect(json).toMatchObject({
      decision: 'terminal',
      cooldown: { kind: 'terminal' },
      pool: null,
    });
    expect(json.blockedUntil).toBe(json.cooldown!.until);
    expect(words).toContain('Waiting does not cure that');
    expect(words).not.toContain('asked to wait');
    expect(words).toContain(`Nothing passes before ${json.blockedUntil}.`);
    expect(words).toContain('What to do: pay, or raise the spend cap');
    await town.pass(HOUR);
    await town.admit();
    const later = await refused(town.ask());
    expect(later.json).toMatchObject({ decision: 'terminal', probesOut: 1 });
    expect(later.inMs).toBe(SECOND);
    expect(later.words).toContain('That was over; one request was finding out');
  });
});

describe('a refusal during a pause for overload', () => {
  it('says whose fault it is not, since when, and when the pause ends', async () => {
    for (let round = 0; round < 2; round += 1) {
      const flight = await town.admit();
      const told = town.governor.overloaded(flight, null);
      await town.pass(0);
      await told;
      await town.settle(flight, { kind: 'not-a-success' });
      if (round === 0) await town.pass(SECOND);
    }
    const { json, words } = await refused(town.ask({ model: OPUS }), OPUS);
    expect(json).toMatchObject({ decision: 'overload', limit: null, pool: null, cooldown: null });
    expect(json.overload).toMatchObject({ consecutive: 2, until: json.blockedUntil });
    expect(words).toContain(`It said so last at ${json.overload!.since}, 2 times in a row.`);
    expect(words).toContain(`The pause was to end at ${json.blockedUntil}.`);
    expect(words).toContain('touches no budget');
  });
});

it('what is old is dropped within the hour after it may be, and not with every run of the job', async () => {
  await open({ budget: 10_000 });
  let prunes = 0;
  const prune = journal.prune.bind(journal);
  journal.prune = (now) => {
    prunes += 1;
    return prune(now);
  };
  const at = town.time.wall();
  const entry = { stream: 'refusals', scope: SCOPE, id: 1, at, document: {} } as const;
  await journal.append([{ ...entry, requests: { prefix: 'tg_0', first: 1, last: 1 } }]);
  const kept = async () => (await journal.find({ prefix: 'tg_0', number: 1 })).length > 0;
  for (let minute = 0; minute < 27 * 60; minute += 1) {
    await history.upkeep(town.time.wall());
    if (minute <= 25 * 60) expect(await kept()).toBe(true);
    town.time.advance(MINUTE);
  }
  expect(await kept()).toBe(false);
  expect(prunes).toBeLessThan(30);
});
