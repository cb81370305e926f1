import { describe, expect, it } from 'vitest';
import type { NotedRefusal } from '../../src/history/grounds.js';
import { RefusalLedger } from '../../src/history/refusal-ledger.js';
import { readRequestId } from '../../src/history/request-ids.js';
import type { JournalEntry } from '../../src/state/event-journal.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import { HOUR, limit, SCOPE, SECOND, Town } from '../governor/support.js';
import { MemoryEventJournal } from '../support/memory-journal.js';

const PREFIX = 'tg_0123abcd';
const idOf = (number: number) => `${PREFIX}${number.toString(36)}`;

class CountingJournal extends MemoryEventJournal {
  written = 0;
  fails = false;

  override async append(entries: readonly JournalEntry[]): Promise<void> {
    if (this.fails) throw new Error('away');
    this.written += entries.length;
    return super.append(entries);
  }
}

async function open() {
  const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
  const journal = new CountingJournal();
  const make = () => new RefusalLedger({ journal, rulesOf: () => town.rules, timers: town.time });
  return { town, journal, make, ledger: make() };
}

/** A refusal as the proxy tells of it. */
async function refusalOf(town: Town, number: number, more: Partial<NotedRefusal> = {}) {
  const outcome = await town.ask();
  if (outcome.kind !== 'refused') throw new Error(`not refused: ${outcome.kind}`);
  const { denial, weighed } = outcome;
  const { now: at, ...rest } = denial;
  const told = { ...rest, at, state: weighed as ScopeState | null };
  return { requestId: idOf(number), scope: SCOPE, model: 'm', reason: null, ...told, ...more };
}

describe('the grounds of a refusal', () => {
  it('for a cooldown: the refusal that began it, and the figures', async () => {
    const { town, ledger } = await open();
    await town.call(6_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    ledger.note(await refusalOf(town, 7));
    const found = await ledger.find({ prefix: PREFIX, number: 7 });
    expect(found).toMatchObject({
      scope: SCOPE,
      grounds: {
        decision: 'cooldown',
        model: 'm',
        cooldown: { kind: 'quota', rung: 1 },
        began: { kind: 'cooldown-began', requestId: 'r', details: { statedWaitMs: HOUR } },
        limits: [
          {
            name: 'tokens',
            used: 6_000,
            reserved: 0,
            budget: 5_820,
            source: 'learned',
            learned: 6_000,
            sample: { tokens: 6_000 },
            moved: { kind: 'budget-learned' },
          },
        ],
      },
    });
    expect(found!.grounds.until).toBe(found!.grounds.cooldown!.until);
  });

  it('for a budget: which limit, and where its budget comes from', async () => {
    const { town, ledger } = await open();
    await town.call(10_000);
    ledger.note(await refusalOf(town, 1));
    const { grounds } = (await ledger.find({ prefix: PREFIX, number: 1 }))!;
    expect(grounds).toMatchObject({ decision: 'budget', limit: 'tokens', cooldown: null });
    expect(grounds.limits[0]).toMatchObject({ budget: 10_000, source: 'configured', used: 10_000 });
    expect(grounds.until).toBe(grounds.limits[0]!.windowEndsAt);
  });

  it('without a state: in words', async () => {
    const { ledger, town } = await open();
    const nothing = {
      model: '',
      limit: null,
      pool: null,
      promised: false,
      state: null,
      scope: null,
    };
    const at = town.time.wall();
    ledger.note({
      ...nothing,
      requestId: idOf(3),
      decision: 'state',
      until: at,
      at,
      reason: 'disk full',
    });
    const found = await ledger.find({ prefix: PREFIX, number: 3 });
    expect(found).toMatchObject({ scope: '', grounds: { decision: 'state', reason: 'disk full' } });
  });
});

describe('the ledger', () => {
  it('makes a storm one entry, and knows each id and no other', async () => {
    const { town, journal, ledger, make } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const refusal = await refusalOf(town, 1);
    const refused = (n: number) => n % 10 !== 0;
    for (let n = 1; n <= 1_000; n += 1) {
      if (refused(n)) ledger.note({ ...refusal, requestId: idOf(n) });
    }
    expect(journal.written).toBe(0);
    await town.pass(SECOND);
    expect(journal.written).toBe(1);
    // Another process, after a kill.
    const later = make();
    for (const n of [1, 9, 10, 11, 500, 501, 999, 1_000, 1_001]) {
      const found = await later.find({ prefix: PREFIX, number: n });
      expect(found !== null, `${n}`).toBe(refused(n) && n <= 1_000);
    }
    expect(await later.find({ prefix: 'tg_ffffffff', number: 1 })).toBeNull();
  });

  it('costs one entry a second and reason, however long it lasts', async () => {
    const { town, journal, ledger } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const refusal = await refusalOf(town, 1);
    for (let n = 1; n <= 600; n += 1) {
      ledger.note({ ...refusal, requestId: idOf(n) });
      await town.pass(100);
    }
    expect(journal.written).toBeLessThanOrEqual(61);
  });

  it('does without what was not written at a crash, and says so by not knowing it', async () => {
    const { town, ledger, make } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    ledger.note(await refusalOf(town, 5));
    expect(await make().find({ prefix: PREFIX, number: 5 })).toBeNull();
  });

  it('keeps what can’t be written, within a bound, and counts the rest', async () => {
    const { town, journal, ledger } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const refusal = await refusalOf(town, 1);
    journal.fails = true;
    for (let n = 1; n <= 400; n += 1) {
      ledger.note({ ...refusal, model: `m${n}`, requestId: idOf(n) });
      await town.pass(SECOND);
    }
    expect(ledger.unexplained).toBeGreaterThan(100);
    expect(ledger.unexplained).toBeLessThan(200);
    expect(await ledger.find({ prefix: PREFIX, number: 1 })).not.toBeNull();
    journal.fails = false;
    await town.pass(2 * SECOND);
    expect(journal.written).toBe(400 - ledger.unexplained);
  });

  it('keeps a bounded number of reasons apart at a time, and counts what it does not explain', async () => {
    const { town, journal, ledger } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const refusal = await refusalOf(town, 1);
    for (let n = 1; n <= 1_000; n += 1) {
      ledger.note({ ...refusal, model: `m${n}`, requestId: idOf(n) });
    }
    expect(ledger.unexplained).toBeGreaterThan(800);
    await town.pass(SECOND);
    expect(journal.written).toBe(1_000 - ledger.unexplained);
    ledger.note({ ...refusal, model: 'later', requestId: idOf(1_001) });
    expect(await ledger.find({ prefix: PREFIX, number: 1_001 })).not.toBeNull();
  });

  it('makes no entry without end of one reason, however many others were admitted between', async () => {
    const { town, journal, ledger, make } = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const refusal = await refusalOf(town, 1);
    for (let n = 1; n <= 2_000; n += 2) ledger.note({ ...refusal, requestId: idOf(n) });
    await town.pass(SECOND);
    const entries = await journal.read({ stream: 'refusals', scope: null, from: 0, most: 100 });
    const sizes = entries.map((entry) => JSON.stringify(entry).length);
    // A line of a file is read up to 64 KiB.
    expect(Math.max(...sizes)).toBeLessThan(8_192);
    const found = async (number: number) =>
      (await make().find({ prefix: PREFIX, number })) !== null;
    for (const n of [1, 511, 513, 999, 1_999]) expect(await found(n), `${n}`).toBe(true);
    for (const n of [2, 512, 1_000, 2_001]) expect(await found(n), `${n}`).toBe(false);
  });
});

it('a request id has two parts, or is none', () => {
  expect(readRequestId('tg_0123abcd1z')).toEqual({ prefix: 'tg_0123abcd', number: 71 });
  for (const none of ['', 'tg_', 'tg_0123abcd', 'req_1', 'tg_0123abcd1Z', `${idOf(1)} or 1=1`]) {
    expect(readRequestId(none), none).toBeNull();
  }
});
