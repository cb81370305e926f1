import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasCode } from '../../src/platform/tidegate-error.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import type { LossPolicy, StateRepository } from '../../src/state/state-repository.js';
import { MIGRATIONS } from '../../src/state/postgres/migrations.js';
import { PostgresStore } from '../support/postgres-store.js';
import { until } from '../support/until.js';
import { fullScopeState, increment, look, sequenceOf } from '../support/scope-states.js';

/** What happens to the rows under instances that run, and between their runs. */
let store: PostgresStore;
const others: PostgresStore[] = [];
beforeEach(async () => {
  store = await PostgresStore.create();
});
afterEach(async () => {
  for (const other of [store, ...others.splice(0)]) await other.dispose();
});

const HOUR = 3_600_000;

function lostOf({ hot }: ScopeState): string | null {
  return hot.lost?.reason ?? null;
}

/** As the governor does with its next decision. */
const takeIn = (state: ScopeState) => ({
  state: { ...state, hot: { ...state.hot, lost: null } },
  outcome: lostOf(state),
});

async function seen(repository: StateRepository, scope = 'a'): Promise<string | null> {
  return lostOf((await repository.read(scope)).state);
}

/**
 * Two stores in place of the one, exchanged for each other by what is returned; the other is one that was
 * in use, and had its own losses taken in.
 */
async function twoStores(onEmpty: LossPolicy['onEmpty']): Promise<() => Promise<void>> {
  const elsewhere = await PostgresStore.create();
  const { schema } = elsewhere;
  const past = await elsewhere.open({ loss: { onEmpty } });
  for (const scope of ['a', 'b']) {
    await past.update(scope, takeIn);
    await past.update(scope, increment);
  }
  await past.close();
  const swap = `alter schema ${store.schema} rename to between;
    alter schema ${schema} rename to ${store.schema};
    alter schema between rename to ${schema}`;
  others.push(elsewhere);
  return async () => void (await store.sql(swap));
}

async function refusal(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no refusal',
    (error: unknown) => error,
  );
}

describe('several instances', () => {
  it('lose no update of one another', async () => {
    const instances = await Promise.all(
      Array.from({ length: 8 }, (_, n) => store.open({ instance: `replica-${n}` })),
    );
    const outcomes = await Promise.all(
      instances.flatMap((instance) =>
        Array.from({ length: 8 }, async () => {
          const told: number[] = [];
          for (let n = 0; n < 10; n += 1) told.push(await instance.update('a', increment));
          return told;
        }),
      ),
    );
    // Everybody was told a number of his own.
    const told = outcomes.flat().sort((a, b) => a - b);
    expect(told).toEqual(Array.from({ length: 640 }, (_, index) => index));
    expect(await sequenceOf(instances[3]!, 'a')).toBe(640);
  });

  it('that start together on an empty database make one store', async () => {
    const instances = await Promise.all(Array.from({ length: 8 }, () => store.open()));
    expect(new Set(instances.map((instance) => instance.health().id)).size).toBe(1);
    expect(instances.map((instance) => instance.health().problem)).toEqual(Array(8).fill(null));
    const rows = await store.sql('select name from tidegate_migrations');
    expect(rows).toHaveLength(MIGRATIONS.length);
  });

  it('see at once what another made durable, hot and cold', async () => {
    const [one, other] = [await store.open(), await store.open()];
    await other.update('a', look);
    await one.update('a', () => ({ state: fullScopeState(), outcome: null }));
    expect(await other.update('a', look)).toEqual(fullScopeState());
    await one.update('a', ({ hot, cold }) => ({
      state: { hot, cold: { ...cold, starts: {} } },
      outcome: null,
    }));
    expect((await other.update('a', look)).cold.starts).toEqual({});
    expect((await other.read('a')).state.cold.starts).toEqual({});
  });
});

describe('an instance that had a scope to itself for long', () => {
  const alone = async () => {
    const one = await store.open();
    for (let n = 0; n < 3; n += 1) await one.update('a', increment);
    return one;
  };

  it('sees what another wrote with its very next decision, whatever that decides', async () => {
    const one = await alone();
    const other = await store.open();
    await other.update('a', increment);
    // A refusal changes nothing, and must be right all the same.
    expect((await one.update('a', look)).hot.sequence).toBe(4);
    for (let n = 0; n < 3; n += 1) await one.update('a', look);
    await other.update('a', increment);
    expect(await one.update('a', increment)).toBe(5);
    expect(await sequenceOf(other, 'a')).toBe(6);
  });

  it('makes no decision on a row that another holds', async () => {
    const one = await alone();
    const holder = new pg.Client({ connectionString: store.url });
    await holder.connect();
    await holder.query('begin; select from tidegate_scopes for no key update');
    const decided = one.update('a', increment);
    await holder.query(`update tidegate_scopes set revision = revision + 1, written_by = 'other',
      hot = jsonb_set(hot::jsonb, '{sequence}', '10')::json`);
    await holder.query('commit');
    expect(await decided).toBe(10);
    await holder.end();
  });

  it('writes the cold part with the hot one, or neither', async () => {
    const one = await alone();
    const other = await store.open();
    await one.update('a', () => ({ state: fullScopeState(), outcome: null }));
    expect((await other.read('a')).state).toEqual(fullScopeState());
    await other.update('a', increment);
    const expected = await other.update('a', look);
    const outcome = await one.update('a', (state) => ({
      state: { ...state, cold: { ...state.cold, starts: {} } },
      outcome: state,
    }));
    expect(outcome).toEqual(expected);
    expect((await other.read('a')).state.cold.starts).toEqual({});
  });

  it('finds that the database was emptied', async () => {
    const one = await alone();
    await store.empty();
    expect(await one.update('a', takeIn)).toBe('rolled-back');
  });

  const databaseNow = async () => {
    const sql = "select date_part('epoch', clock_timestamp()) * 1000 as now";
    return (await store.sql<{ now: number }>(sql))[0]!.now;
  };
  const timeOf = (state: ScopeState, now: number) => ({ ...increment(state, now), outcome: now });

  it.each([
    ['stood still, as a machine’s that sleeps', () => 0],
    ['ran ahead by a minute', () => performance.now() + 60_000],
  ])('does not go by its own clock, which %s', async (_, later) => {
    let monotonic = () => performance.now();
    const one = await store.open({ monotonic: () => monotonic() });
    for (let n = 0; n < 3; n += 1) await one.update('a', timeOf);
    // So that the next reading is of this clock.
    if (later() === 0) monotonic = later;
    await one.update('a', timeOf);
    monotonic = later;
    await store.sql('select pg_sleep(1)');
    const before = await databaseNow();
    const now = await one.update('a', timeOf);
    expect(now).toBeGreaterThanOrEqual(Math.floor(before) - 750);
    expect(now).toBeLessThanOrEqual(await databaseNow());
  });
});

describe('a database that is not what it was', () => {
  it('emptied under running instances: cautious everywhere, once', async () => {
    const [one, other] = [await store.open(), await store.open()];
    for (const scope of ['a', 'b']) await one.update(scope, increment);
    expect(await sequenceOf(other, 'a')).toBe(1);
    const { id } = one.health();
    await store.empty();
    expect(await one.update('a', takeIn)).toBe('rolled-back');
    expect(one.health()).toMatchObject({ healthy: true });
    expect(one.health().id).not.toBe(id);
    // The other finds that it is known already; a scope that turns up new is still a lost one.
    expect(await other.update('a', takeIn)).toBeNull();
    expect(await other.update('b', takeIn)).toBe('rolled-back');
    expect(await seen(await store.open(), 'a')).toBeNull();
    expect(await seen(await store.open(), 'c')).toBe('rolled-back');
  });

  it('emptied, and made anew by an instance that knew nothing', async () => {
    const running = await store.open();
    await running.update('a', increment);
    await store.empty();
    const fresh = await store.open();
    await fresh.update('a', increment);
    expect(await running.update('a', takeIn)).toBe('rolled-back');
    expect(await seen(fresh, 'b')).toBe('rolled-back');
  });

  it.each(['trust', 'cautious'] as const)(
    'exchanged for another that was born with onEmpty %s: cautious everywhere, once',
    async (onEmpty) => {
      const loss = { onEmpty };
      const [one, other] = [await store.open({ loss }), await store.open({ loss })];
      const exchange = await twoStores(onEmpty);
      for (const scope of ['a', 'b']) {
        await one.update(scope, takeIn);
        await other.update(scope, takeIn);
      }
      await exchange();
      expect(await one.update('a', takeIn)).toBe('rolled-back');
      expect(await other.update('a', takeIn)).toBeNull();
      expect(await other.update('b', takeIn)).toBe('rolled-back');
      expect(await one.update('b', takeIn)).toBeNull();
      expect(await seen(one, 'new')).toBe('rolled-back');
    },
  );

  it('exchanged to and fro: cautious each time', async () => {
    const [one, other] = [await store.open(), await store.open()];
    const exchange = await twoStores('trust');
    for (const instance of [one, other]) await instance.update('a', takeIn);
    for (let n = 0; n < 4; n += 1) {
      await exchange();
      expect(await one.update('a', takeIn), `exchange ${n}`).toBe('rolled-back');
      expect(await other.update('a', takeIn)).toBeNull();
    }
  });

  it('exchanged, with names in it that only json can hold: cautious, and in use', async () => {
    const one = await store.open();
    const pools = { 'model:claude\0x': {}, 'model:\ud83d': {} };
    await one.update('a', (state) => ({
      state: { ...state, hot: { ...state.hot, later: pools } },
      outcome: null,
    }));
    await store.sql("update tidegate_store set id = 'another'");
    expect(await one.update('a', takeIn)).toBe('rolled-back');
    expect((await one.read('a')).state.hot).toMatchObject({ later: pools });
    expect(one.health().healthy).toBe(true);
  });

  it('whose store’s row is gone, while nobody ran: cautious everywhere, once', async () => {
    const before = await store.open();
    for (const scope of ['a', 'b']) await before.update(scope, increment);
    await before.close();
    await store.sql('delete from tidegate_store');
    const [one, other] = await Promise.all([store.open(), store.open()]);
    expect(await one!.update('a', takeIn)).toBe('missing');
    expect(await other!.update('a', takeIn)).toBeNull();
    expect(await seen(other!, 'b')).toBe('missing');
    expect(await seen(other!, 'new')).toBe('missing');
    expect(await sequenceOf(other!, 'a')).toBe(1);
  });

  it('whose store’s row is gone, under a running instance and its older scopes', async () => {
    const [one, other] = [await store.open(), await store.open()];
    for (const scope of ['a', 'b']) await one.update(scope, increment);
    await store.sql('create table before as select * from tidegate_scopes');
    for (let n = 0; n < 5; n += 1) {
      for (const scope of ['a', 'b']) await one.update(scope, increment);
    }
    await other.update('a', look);
    await store.sql(`delete from tidegate_store; delete from tidegate_scopes;
      insert into tidegate_scopes select * from before`);
    expect(await one.update('a', takeIn)).toBe('rolled-back');
    expect(await seen(one, 'b')).toBe('rolled-back');
    expect(await other.update('a', takeIn)).toBeNull();
    expect(await seen(other, 'new')).toBe('rolled-back');
  });

  it('whose store’s row is gone ends the start under the policy refuse, as often as it is tried', async () => {
    const before = await store.open();
    await before.update('a', increment);
    await before.close();
    const [row] = await store.sql<{ id: string }>('delete from tidegate_store returning id');
    for (let n = 0; n < 2; n += 1) {
      const error = await refusal(store.open({ loss: { onCorrupt: 'refuse' } }));
      expect(hasCode(error, 'STATE_CORRUPT')).toBe(true);
      expect(String(error)).toContain('tidegate_store');
    }
    // Put back, it is as if nothing had been.
    await store.sql('insert into tidegate_store (id, schema_major) values ($1, 1)', [row!.id]);
    expect(await seen(await store.open({ loss: { onCorrupt: 'refuse' } }))).toBeNull();
  });

  it('a start on one that is whole marks nothing, however often', async () => {
    await (await store.open()).update('a', increment);
    for (let n = 0; n < 3; n += 1) expect(await seen(await store.open())).toBeNull();
  });

  it('older than before: cautious once, and above every revision seen', async () => {
    const [one, other] = [await store.open(), await store.open()];
    await one.update('a', increment);
    await store.sql('create table before as select * from tidegate_scopes');
    for (let n = 0; n < 5; n += 1) await one.update('a', increment);
    expect(await sequenceOf(other, 'a')).toBe(6);
    await store.sql('delete from tidegate_scopes');
    await store.sql('insert into tidegate_scopes select * from before');
    expect(await seen(one)).toBe('rolled-back');
    expect(await one.update('a', takeIn)).toBe('rolled-back');
    expect(await seen(one)).toBeNull();
    expect(await other.update('a', takeIn)).toBeNull();
    expect(await sequenceOf(other, 'a')).toBe(1);
  });

  it('with the same revision, written by another: cautious', async () => {
    const one = await store.open();
    await one.update('a', increment);
    await store.sql("update tidegate_scopes set written_by = 'other'");
    expect(await one.update('a', takeIn)).toBe('rolled-back');
  });

  it('with a scope missing: cautious', async () => {
    const one = await store.open();
    await one.update('a', increment);
    await store.sql('delete from tidegate_scopes');
    expect(await one.update('a', takeIn)).toBe('rolled-back');
    expect(await seen(one)).toBeNull();
  });

  it.each([
    ['trust', null],
    ['cautious', 'empty'],
  ] as const)('empty at the first start, with onEmpty %s: %s', async (onEmpty, reason) => {
    const one = await store.open({ loss: { onEmpty } });
    expect(await seen(one)).toBe(reason);
    expect(await seen(await store.open())).toBe(reason);
  });
});

describe('rows that can’t be believed', () => {
  it.each([
    ['hot', 'update tidegate_scopes set hot = \'{"limits": 7}\'', 'corrupt', 0, 1],
    ['cold', "update tidegate_scopes_cold set cold = '[]'", 'restored', 9, 0],
    ['missing cold', 'delete from tidegate_scopes_cold', 'restored', 9, 0],
  ])(
    'a damaged %s part is set aside, and the other is kept',
    async (_, damage, why, seq, starts) => {
      const before = await store.open();
      await before.update('a', () => ({
        state: { ...fullScopeState(), hot: { ...fullScopeState().hot, lost: null } },
        outcome: null,
      }));
      await before.close();
      await store.sql(damage);
      const after = await store.open();
      const { state } = await after.read('a');
      expect(lostOf(state)).toBe(why);
      expect(state.hot.sequence).toBe(seq);
      expect(Object.keys(state.cold.starts)).toHaveLength(starts);
      expect(await after.update('a', takeIn)).toBe(why);
      const aside = await store.sql<{ why: string }>('select why from tidegate_set_aside');
      expect(aside).toHaveLength(1);
      expect(await seen(await store.open())).toBeNull();
    },
  );

  it.each([
    ['cold', 'tidegate_scopes_cold', 'a start'],
    ['cold', 'tidegate_scopes_cold', 'a running instance'],
    ['cold', 'tidegate_scopes_cold', 'another that runs'],
    ['hot', 'tidegate_scopes', 'a start'],
    ['hot', 'tidegate_scopes', 'a running instance'],
  ])('a %s part that was put back alone, in %s, is noticed by %s', async (part, table, who) => {
    const before = await store.open();
    const writeBoth = async (count: number) =>
      before.update('a', ({ hot, cold }) => ({
        state: {
          hot: { ...hot, sequence: count },
          cold: { ...cold, calibration: { ...cold.calibration, accepted: count } },
        },
        outcome: null,
      }));
    await writeBoth(1);
    await store.sql(`create table before as select * from ${table}`);
    await writeBoth(2);
    const other = await store.open();
    await other.update('a', look);
    await writeBoth(3);
    await store.sql(`delete from ${table}; insert into ${table} select * from before`);
    const refused = await refusal(store.open({ loss: { onCorrupt: 'refuse' } }));
    expect(String(refused)).toContain(`${part}: older than`);
    const running = who === 'another that runs' ? other : before;
    const after = who === 'a start' ? await store.open() : running;
    const { state } = await after.read('a');
    expect(lostOf(state)).toBe('rolled-back');
    expect([state.hot.sequence, state.cold.calibration.accepted]).toEqual(
      part === 'cold' ? [3, 1] : [1, 3],
    );
    expect(await after.update('a', takeIn)).toBe('rolled-back');
    expect(await store.sql('select * from tidegate_set_aside')).toHaveLength(1);
    for (const one of [after, before, await store.open()]) {
      expect(await one.update('a', takeIn)).toBeNull();
      expect(lostOf((await one.read('a')).state)).toBeNull();
    }
  });

  it.each([
    ['a start', false, 'corrupt'],
    ['a running instance', true, 'rolled-back'],
  ])('%s takes the cold part where the hot one is gone', async (_, running, why) => {
    const before = await store.open();
    const sound = { ...fullScopeState(), hot: { ...fullScopeState().hot, lost: null } };
    await before.update('a', () => ({ state: sound, outcome: null }));
    await store.sql('delete from tidegate_scopes');
    const refusing = await store.open({ loss: { onCorrupt: 'refuse' } });
    expect(String(await refusal(refusing.update('a', increment)))).toContain('hot: no row');
    const after = running ? before : await store.open();
    const { state } = await after.read('a');
    expect(lostOf(state)).toBe(why);
    expect(state.hot.sequence).toBe(0);
    expect(state.cold).toEqual(fullScopeState().cold);
    expect(await after.update('a', takeIn)).toBe(why);
    const left = await (await store.open()).read('a');
    expect(left.state.cold).toEqual(fullScopeState().cold);
    expect(lostOf(left.state)).toBeNull();
    expect(await store.sql('select cold from tidegate_set_aside')).toHaveLength(1);
  });

  it('a scope that another makes at this moment is no damaged one', async () => {
    const refuse = { loss: { onCorrupt: 'refuse' } } as const;
    const instances = await Promise.all(Array.from({ length: 8 }, () => store.open(refuse)));
    for (let scope = 0; scope < 10; scope += 1) {
      const told = await Promise.all(
        instances.map((instance) => instance.update(`scope-${scope}`, increment)),
      );
      expect(told.sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    }
    expect(await store.sql('select * from tidegate_set_aside')).toEqual([]);
  });

  it('end the start under the policy refuse, and are left as they are', async () => {
    await (await store.open()).update('a', increment);
    await store.sql('update tidegate_scopes set hot = \'{"limits": 7}\'');
    const error = await refusal(store.open({ loss: { onCorrupt: 'refuse' } }));
    expect(hasCode(error, 'STATE_CORRUPT')).toBe(true);
    expect(await store.sql('select * from tidegate_set_aside')).toEqual([]);
  });

  it('of a newer major end the start, and under a running instance its admissions', async () => {
    const running = await store.open();
    await running.update('a', increment);
    await store.sql('update tidegate_store set schema_major = 2');
    expect(hasCode(await refusal(store.open()), 'STATE_NEWER')).toBe(true);
    await store.sql('update tidegate_scopes set schema_major = 2, revision = revision + 1');
    const error = await refusal(running.update('a', increment));
    expect(hasCode(error, 'STATE_UNAVAILABLE')).toBe(true);
    expect(running.health().problem).toContain('schema 2');
  });

  it('of a newer major leave an instance unhealthy, however often it looks', async () => {
    const running = await store.open();
    await running.update('a', increment);
    await store.sql('update tidegate_store set schema_major = 2');
    expect(hasCode(await refusal(running.update('a', increment)), 'STATE_UNAVAILABLE')).toBe(true);
    const lookedAt = async () => {
      const sql = 'select checked_at::text as at from tidegate_store where checked_at is not null';
      return (await store.sql<{ at: string }>(sql))[0]?.at;
    };
    await until(async () => (await lookedAt()) !== undefined);
    const first = await lookedAt();
    // One that had healed would look no more.
    await until(async () => (await lookedAt()) !== first);
    expect(running.health().problem).toContain('schema 2');
  });

  it.each([
    ['alone with its scope', false],
    ['beside others', true],
  ])('of a newer major in the store’s row alone end its admissions, %s', async (_, beside) => {
    const running = await store.open();
    for (let n = 0; n < 3; n += 1) await running.update('a', increment);
    if (beside) await (await store.open()).update('a', increment);
    const before = await store.sql('select * from tidegate_scopes');
    await store.sql('update tidegate_store set schema_major = 2');
    for (const update of [increment, look]) {
      const error = await refusal(running.update('a', update as typeof increment));
      expect(hasCode(error, 'STATE_UNAVAILABLE')).toBe(true);
    }
    expect(running.health().problem).toContain('schema 2');
    expect(await store.sql('select * from tidegate_scopes')).toEqual(before);
    await store.sql('update tidegate_store set schema_major = 1');
    expect(await running.update('a', increment)).toBe(beside ? 4 : 3);
  });
});

describe('the database’s clock', () => {
  const now = async () => Number((await store.sql<{ now: number }>(NOW))[0]!.now);
  const NOW = 'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now';
  const nowOf = (repository: StateRepository) =>
    repository.update('a', (state, at) => ({
      state: { ...state, hot: { ...state.hot, sequence: state.hot.sequence + 1 } },
      outcome: at,
    }));

  it('is what decisions go by, and what the instance’s own clock is made to follow', async () => {
    const one = await store.open();
    const before = await now();
    const at = await nowOf(one);
    expect(at).toBeGreaterThanOrEqual(Math.floor(before));
    expect(at).toBeLessThanOrEqual(await now());
  });

  it('half an hour behind the record: time goes on from the record', async () => {
    const one = await store.open();
    await nowOf(one);
    await store.sql(`update tidegate_scopes set recorded_at = recorded_at + ${HOUR / 2}`);
    const first = await nowOf(one);
    await store.sql('select pg_sleep(0.05)');
    const second = await nowOf(await store.open());
    expect(first - (await now())).toBeGreaterThan(HOUR / 2 - 60_000);
    expect(second - first).toBeGreaterThanOrEqual(50);
    expect(second - first).toBeLessThan(10_000);
  });

  it('more than an hour behind the record: believed, and the scope is marked', async () => {
    const one = await store.open();
    await nowOf(one);
    const recordedAt = (await now()) + 2 * HOUR;
    await store.sql(`update tidegate_scopes set recorded_at = ${Math.floor(recordedAt)}`);
    const { state, now: at } = await one.read('a');
    expect(state.hot.lost).toMatchObject({ reason: 'clock', recordedAt: Math.floor(recordedAt) });
    expect(Math.abs(at - (await now()))).toBeLessThan(60_000);
    expect(await one.update('a', takeIn)).toBe('clock');
    expect(await seen(one)).toBeNull();
  });

  it('set right again: a scope that went back with it is told to come forth', async () => {
    const one = await store.open();
    const byMs = 6 * HOUR;
    const goBack = (state: ScopeState, at: number) => ({
      state: { ...state, hot: { ...state.hot, setBack: { byMs, until: at + 5 * HOUR } } },
      outcome: null,
    });
    await one.update('a', goBack);
    expect(await one.update('a', takeIn), 'no time has passed').toBeNull();
    // Written six hours and a little ago, by the clock of now.
    await store.sql(`update tidegate_scopes set recorded_at = recorded_at - ${byMs} - 1000`);
    const { state, now: at } = await one.read('a');
    expect(state.hot.lost).toEqual({ reason: 'clock', at, recordedAt: at - byMs });
    expect(await one.update('a', takeIn)).toBe('clock');
  });
});
