import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasCode } from '../../src/platform/tidegate-error.js';
import { SYSTEM_TIMERS, turnEnds } from '../../src/platform/timers.js';
import { Database } from '../../src/state/postgres/database.js';
import { PostgresEventJournal } from '../../src/state/postgres/postgres-journal.js';
import { openPostgresStateRepository } from '../../src/state/postgres/postgres-repository.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import { type StateRepository, TRUSTING } from '../../src/state/state-repository.js';
import { ManualTime } from '../support/manual-time.js';
import { PostgresStore, postgresUrl } from '../support/postgres-store.js';
import { increment, sequenceOf } from '../support/scope-states.js';
import { type Link, TcpProxy } from '../support/tcp-proxy.js';
import { TransactionPooler } from '../support/transaction-pooler.js';
import { until } from '../support/until.js';

/**
 * What the network may do to a commit. `near` reaches the database by way of a proxy that does it,
 * `other` directly.
 */
let store: PostgresStore;
let proxy: TcpProxy;
let near: StateRepository;
let other: StateRepository;

beforeEach(async () => {
  store = await PostgresStore.create();
  proxy = await TcpProxy.open(store.url);
  near = await store.open({ url: proxy.through(store.url), instance: 'near' });
  other = await store.open({ instance: 'other' });
  await near.update('a', increment);
});

afterEach(async () => {
  await proxy.close();
  await store.dispose();
});

/** By what a step of a commit is known on the wire. */
const SIGNS = {
  lock: /isolation level read committed/,
  commit: /commit\0/,
  // By its name, if the session knows it already.
  unlocked: /skip locked|tidegate_[0-9a-f]+_(hot|both)\0/,
};
type Step = keyof typeof SIGNS;

/** Does it once, to the connection on which a step of the next commit is sent. */
function onceAt(step: Step, act: (link: Link, chunk: Buffer) => void): void {
  proxy.onClientData = (link, chunk) => {
    if (!SIGNS[step].test(chunk.toString('latin1'))) return;
    proxy.onClientData = () => undefined;
    act(link, chunk);
  };
}

async function codeOf(update: Promise<unknown>): Promise<string> {
  return update.then(
    () => 'done',
    (error: unknown) => (error as { readonly code: string }).code,
  );
}

/** `near` finds the row as it had left it, and writes without the lock from here on. */
async function leaveUndisturbed(): Promise<number> {
  await near.update('a', increment);
  return (await near.update('a', increment)) + 1;
}

describe('the way of a commit', () => {
  it('is one message while nobody else writes, and by way of the lock once somebody has', async () => {
    await leaveUndisturbed();
    const steps: string[] = [];
    proxy.onClientData = (_, chunk) => {
      const text = chunk.toString('latin1');
      steps.push(...Object.keys(SIGNS).filter((step) => SIGNS[step as Step].test(text)));
    };
    const stepsOf = async (decide: typeof increment) => {
      steps.length = 0;
      await near.update('a', decide);
      return steps.join(' ');
    };
    expect(await stepsOf(increment)).toBe('unlocked');
    expect(await stepsOf((state) => ({ state, outcome: 0 }))).toBe('');
    await other.update('a', increment);
    expect(await stepsOf(increment)).toBe('unlocked lock commit');
    expect(await stepsOf(increment)).toBe('lock commit');
    expect(await stepsOf(increment)).toBe('unlocked');
    await other.update('a', increment);
    expect(await stepsOf((state) => ({ state, outcome: 0 }))).toBe('lock');
  });
});

describe('the store’s clock', () => {
  it('does not go back behind a read that overtook the answer to a commit', async () => {
    await leaveUndisturbed();
    let resume = () => {};
    onceAt('unlocked', (link) => {
      link.server.pause();
      resume = () => void link.server.resume();
    });
    const slow = near.update('a', increment);
    await until(async () => (await sequenceOf(other, 'a')) === 4);
    const told = (await near.read('a')).now;
    resume();
    await slow;
    const now = await near.update('a', (state, at) => ({ state, outcome: at }));
    expect(now).toBeGreaterThanOrEqual(told);
  });
});

describe('behind a pooler', () => {
  it('statements lose their names at the first session that does not know them, and nothing else', async () => {
    const pooler = await TransactionPooler.open(await postgresUrl());
    const front = await TcpProxy.open(pooler.through(store.url));
    const one = await store.open({ url: front.through(store.url) });
    let locks = 0;
    front.onClientData = (_, chunk) => {
      if (SIGNS.lock.test(chunk.toString('latin1'))) locks += 1;
    };
    for (let n = 1; n <= 10; n += 1) expect(await one.update('a', increment)).toBe(n);
    expect(locks).toBe(1);
    await one.close();
    await front.close();
    await pooler.close();
  });
});

describe.each([
  ['under the lock', 'commit', () => Promise.resolve(1)],
  ['without the lock', 'unlocked', leaveUndisturbed],
] as const)('a commit %s of which nothing is heard', (_, step, prepare) => {
  it('cut after it was sent: it had happened, and is told once the row shows it', async () => {
    const before = await prepare();
    onceAt(step, (link) => {
      link.toClient = 'swallow';
      setTimeout(() => link.cut(), 200);
    });
    expect(await near.update('a', increment)).toBe(before);
    expect(await sequenceOf(other, 'a')).toBe(before + 1);
    expect(await near.update('a', increment)).toBe(before + 1);
    expect(near.health()).toMatchObject({ healthy: true });
  });

  it('cut before it arrived: it had not happened, and is done again', async () => {
    const before = await prepare();
    onceAt(step, (link) => {
      link.toServer = 'swallow';
      setTimeout(() => link.cut(), 50);
    });
    expect(await near.update('a', increment)).toBe(before);
    expect(await sequenceOf(other, 'a')).toBe(before + 1);
    expect(await near.update('a', increment)).toBe(before + 1);
  });

  it('cut, and others have written since: unknown', async () => {
    const before = await prepare();
    onceAt(step, (link) => {
      link.toClient = 'swallow';
      void until(async () => (await sequenceOf(other, 'a')) > before)
        .then(() => other.update('a', increment))
        .then(() => link.cut());
    });
    expect(await codeOf(near.update('a', increment))).toBe('STATE_UNKNOWN');
    // The next one works on what is durable.
    expect(await near.update('a', increment)).toBe(before + 2);
  });

  it('blackholed: unknown in bounded time, and on with another connection', async () => {
    await prepare();
    onceAt(step, (link) => link.blackhole());
    const since = performance.now();
    expect(await codeOf(near.update('a', increment))).toBe('STATE_UNKNOWN');
    expect(performance.now() - since).toBeLessThan(6_000);
    expect(near.health().healthy).toBe(false);
    expect(await codeOf(near.update('a', increment))).toBe('done');
  });
});

describe('a commit without the lock that arrives late', () => {
  it.each([
    ['is done again', increment],
    ['is decided otherwise', (state: ScopeState) => ({ state, outcome: -1 })],
  ])('changes nothing after it %s', async (_, again) => {
    const before = await leaveUndisturbed();
    let late = () => undefined as void;
    const heard = new Promise<void>((resolve) => {
      onceAt('unlocked', (link, chunk) => {
        link.toServer = 'swallow';
        late = () => {
          link.server.once('data', () => resolve());
          link.server.write(chunk);
        };
        link.client.destroy();
      });
    });
    let decide = increment;
    const outcome = await near.update('a', (state, now) => {
      const decided = decide(state, now);
      decide = again;
      return decided;
    });
    expect(outcome).toBe(again === increment ? before : -1);
    const told = await sequenceOf(other, 'a');
    expect(told).toBe(again === increment ? before + 1 : before);
    late();
    await heard;
    expect(await sequenceOf(other, 'a')).toBe(told);
  });
});

describe('a replica that stops with the row in its hands', () => {
  it('delays the others by about a second, once, and its decision never happens', async () => {
    onceAt('lock', (link) => {
      link.toClient = 'swallow';
    });
    const frozen = codeOf(near.update('a', increment));
    const free = 'select from tidegate_scopes for no key update skip locked';
    await until(async () => (await store.sql(free)).length === 0);
    const since = performance.now();
    await other.update('a', increment);
    const delayMs = performance.now() - since;
    expect(delayMs).toBeLessThan(2_000);
    const again = performance.now();
    await other.update('a', increment);
    expect(performance.now() - again).toBeLessThan(delayMs);
    expect(await frozen).toBe('STATE_UNAVAILABLE');
    expect(await sequenceOf(other, 'a')).toBe(3);
  });
});

describe('a network that is gone', () => {
  it('makes the store unhealthy in bounded time, and heals by itself', async () => {
    proxy.blackhole();
    const since = performance.now();
    expect(await codeOf(near.update('a', increment))).toBe('STATE_UNAVAILABLE');
    expect(await codeOf(near.read('a'))).toBe('STATE_UNAVAILABLE');
    expect(performance.now() - since).toBeLessThan(12_000);
    expect(near.health()).toMatchObject({ healthy: false });
    expect(near.health().problem).toContain('database');
    proxy.heal();
    await until(() => near.health().healthy, 15_000);
    expect(await near.update('a', increment)).toBe(1);
  });

  it('at the start: opened unhealthy, and heals by itself', async () => {
    proxy.blackhole();
    const late = await store.open({ url: proxy.through(store.url) });
    expect(late.health()).toMatchObject({ healthy: false, id: '' });
    expect(await codeOf(late.update('a', increment))).toBe('STATE_UNAVAILABLE');
    proxy.heal();
    await until(() => late.health().healthy, 15_000);
    expect(late.health().id).toBe(other.health().id);
    expect(await late.update('a', increment)).toBe(1);
  });

  it('leaves no connection behind, whether it swallows a start or a commit', async () => {
    const shut = await TcpProxy.open(store.url);
    const time = new ManualTime();
    const options = { url: shut.through(store.url), applicationName: 'test', timers: time };
    const database = new Database(options);
    const swallow = async (sign: RegExp, work: () => Promise<unknown>) => {
      let swallowed = false;
      shut.onClientData = (link, chunk) => {
        if (!sign.test(chunk.toString('latin1'))) return;
        link.blackhole();
        swallowed = true;
      };
      const failed = expect(work()).rejects.toThrow('no answer');
      await until(() => swallowed);
      time.advance(10_000);
      await failed;
      await until(() => shut.links.size === 0);
    };
    try {
      await swallow(/version\(\)/i, () => database.pendingMigrations());
      shut.heal();
      expect(await database.pendingMigrations()).toEqual([]);
      await swallow(/pg_sleep/, () =>
        database.session(({ client }) =>
          database.answer(1_000, client.query('select pg_sleep(9)')),
        ),
      );
    } finally {
      await database.close();
      await shut.close();
    }
  });

  it('nor does a database that is closed while it connects', async () => {
    const shut = await TcpProxy.open(store.url);
    const options = {
      url: shut.through(store.url),
      applicationName: 'test',
      timers: SYSTEM_TIMERS,
    };
    const database = new Database(options);
    let closed: Promise<void> | null = null;
    shut.onClientData = (_, chunk) => {
      if (/version\(\)/i.test(chunk.toString('latin1'))) closed ??= database.close();
    };
    await expect(database.pendingMigrations()).rejects.toThrow();
    expect(closed).not.toBeNull();
    await until(() => shut.links.size === 0);
    await shut.close();
  });

  it.each([
    ['a read', (late: StateRepository) => codeOf(late.read('a'))],
    ['the look once a second', () => Promise.resolve('STATE_CLOSED')],
  ])('nor does a store that is closed while %s connects', async (_, connect) => {
    const shut = await TcpProxy.open(store.url);
    shut.onClientData = (link) => link.cut();
    const late = await store.open({ url: shut.through(store.url) });
    expect(late.health().healthy).toBe(false);
    let closed: Promise<void> | null = null;
    shut.onClientData = (__, chunk) => {
      if (/version\(\)/i.test(chunk.toString('latin1'))) closed ??= late.close();
    };
    const told = connect(late);
    await until(() => closed !== null);
    await closed;
    expect(await told).toBe('STATE_CLOSED');
    await until(() => shut.links.size === 0);
    expect(await codeOf(late.read('a'))).toBe('STATE_CLOSED');
    await shut.close();
  });

  it('does not keep a store from closing within the time that a stop has for it', async () => {
    const shut = await TcpProxy.open(store.url);
    const time = new ManualTime();
    const stuck = await openPostgresStateRepository({
      url: shut.through(store.url),
      instance: 'stuck',
      loss: TRUSTING,
      timers: time,
    });
    await stuck.update('a', increment);
    let sent = false;
    shut.onClientData = (link) => {
      link.blackhole();
      sent = true;
    };
    const last = codeOf(stuck.update('a', increment));
    await until(() => sent);
    const behind = codeOf(stuck.update('a', increment));
    let closed = false;
    const closing = stuck.close().then(() => (closed = true));
    const since = time.monotonic();
    while (!closed && time.monotonic() - since < 10_000) {
      time.advance(50);
      await turnEnds();
    }
    await closing;
    // CLOSE_MS in data-plane.ts.
    expect(time.monotonic() - since).toBeLessThan(2_500);
    await until(() => shut.links.size === 0);
    expect(await last).toMatch(/STATE_(UNKNOWN|CLOSED)/);
    expect(await behind).toBe('STATE_CLOSED');
    await shut.close();
  });

  it('nor the journal of events, whose connection is gone once that is closed', async () => {
    const shut = await TcpProxy.open(store.url);
    const journal = new PostgresEventJournal({ url: shut.through(store.url), instance: 'test' });
    const newest = { stream: 'event', scope: null, from: 0, most: 1 } as const;
    expect(await journal.read(newest)).toEqual([]);
    let sent = false;
    shut.onClientData = (link) => {
      link.blackhole();
      sent = true;
    };
    const last = codeOf(journal.read(newest));
    await until(() => sent);
    await journal.close();
    // Sooner than the statement is given up: what a stop leaves open keeps the process.
    await until(() => shut.links.size === 0, 1_000);
    expect(await last).toBe('STATE_UNAVAILABLE');
    await shut.close();
  });

  it('connections that died while they were idle are no failure', async () => {
    for (const link of proxy.links) link.cut();
    expect(await near.update('a', increment)).toBe(1);
    for (const link of proxy.links) link.cut();
    await until(() => proxy.links.size === 0);
    expect(await near.update('a', increment)).toBe(2);
    expect(near.health().problem).toBeNull();
  });
});

describe('what the server says of conflicts', () => {
  /** The next writes of the row end with this error, so many times. */
  async function failNext(state: string, times: number): Promise<void> {
    await store.sql(`
      create sequence failures;
      create function fail() returns trigger language plpgsql as $$
      begin
        if nextval('failures') <= ${times} then
          raise exception using errcode = '${state}', message = 'made up';
        end if;
        return new;
      end $$;
      create trigger fail before update on tidegate_scopes for each row execute function fail()`);
  }

  it.each(['40001', '40P01', '40003'])('%s is tried again', async (state) => {
    const before = await leaveUndisturbed();
    await failNext(state, state === '40003' ? 1 : 2);
    expect(await near.update('a', increment)).toBe(before);
    expect(await sequenceOf(other, 'a')).toBe(before + 1);
  });

  it('within a bound', async () => {
    await failNext('40001', 1_000);
    expect(await codeOf(near.update('a', increment))).toBe('STATE_UNAVAILABLE');
    const [row] = await store.sql<{ last_value: string }>('select last_value from failures');
    expect(Number(row!.last_value)).toBe(4);
    expect(await sequenceOf(other, 'a')).toBe(1);
  });

  it('other errors are not', async () => {
    await failNext('53100', 1);
    const error: unknown = await near.update('a', increment).catch((reason: unknown) => reason);
    expect(hasCode(error, 'STATE_UNAVAILABLE')).toBe(true);
    expect(hasCode(error, 'STATE_UNAVAILABLE') && error.hint).toBe('free space on its disk');
    expect(await near.update('a', increment)).toBe(1);
  });
});
