/** `tidegate state`, built, on stores that are in use, at rest, damaged and not there. */
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { auditScope } from '../../src/state/audit.js';
import { emptyScopeState, type ScopeState } from '../../src/state/scope-state.js';
import { FakeUpstream, jsonMessage } from '../support/fake-upstream.js';
import { ManualTime } from '../support/manual-time.js';
import { PostgresStore } from '../support/postgres-store.js';
import { fullScopeState, withSequence } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';
import { FileStore } from '../support/file-store.js';
import type { StoreOnDisk } from '../support/store-on-disk.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';
import { tidegate } from './run.js';

const STORES = [
  ['file', 'sqlite'],
  ['sqlite', 'file'],
] as const;

let file: FileStore;
let sqlite: SqliteStore;
beforeEach(() => {
  file = new FileStore();
  sqlite = new SqliteStore();
});
afterEach(async () => {
  await file.dispose();
  await sqlite.dispose();
});

function storeOf(kind: 'file' | 'sqlite'): StoreOnDisk {
  return kind === 'file' ? file : sqlite;
}

function address(kind: 'file' | 'sqlite'): string {
  return `${kind}:${storeOf(kind).path}`;
}

/** A state in which nothing contradicts anything. */
function soundState(sequence = 9): ScopeState {
  return withSequence(fullScopeState(), sequence);
}

async function fill(store: StoreOnDisk, scopes: Readonly<Record<string, ScopeState>>) {
  const repository = await store.open();
  for (const [name, state] of Object.entries(scopes)) {
    await repository.update(name, () => ({ state, outcome: null }));
  }
  await repository.close();
}

async function scopesOf(store: StoreOnDisk): Promise<Record<string, ScopeState>> {
  const repository = await store.open();
  const scopes: Record<string, ScopeState> = {};
  for (const name of await repository.list()) scopes[name] = (await repository.read(name)).state;
  await repository.close();
  return scopes;
}

/** Last heard of so much later. */
function later(state: ScopeState, byMs: number): ScopeState {
  const instance = state.hot.instances['host-a']!;
  const instances = { 'host-a': { ...instance, seenAt: instance.seenAt + byMs } };
  return { ...state, hot: { ...state.hot, instances } };
}

describe('copy', () => {
  it.each(STORES)('%s -> %s: everything arrives, and comes back', async (from, to) => {
    const scopes = { a: soundState(), 'b/c': soundState(12) };
    await fill(storeOf(from), scopes);
    const there = await tidegate(['state', 'copy', address(from), address(to)]);
    expect(there).toMatchObject({ code: 0, err: '' });
    expect(there.out).toContain(`TIDEGATE_STATE=${address(to)}`);
    expect(await scopesOf(storeOf(to))).toEqual(scopes);
    rmSync(storeOf(from).directory, { recursive: true });
    expect(await tidegate(['state', 'copy', address(to), address(from)])).toMatchObject({
      code: 0,
    });
    expect(await scopesOf(storeOf(from))).toEqual(scopes);
  });

  it('refuses to overwrite newer state, unless forced; and keeps what only the target has', async () => {
    await fill(file, { a: soundState(20) });
    await fill(sqlite, { a: later(soundState(30), 1_000), b: soundState(5) });
    const refused = await tidegate(['state', 'copy', address('file'), address('sqlite')]);
    expect(refused).toMatchObject({ code: 64, out: '' });
    expect(refused.err).toContain('use --force');
    expect((await scopesOf(sqlite))['a']!.hot.sequence).toBe(30);
    const forced = await tidegate(['state', 'copy', address('file'), address('sqlite'), '--force']);
    expect(forced).toMatchObject({ code: 0 });
    expect(forced.err).toMatch(/^tidegate: forced, although sqlite:.* only until .*\n$/);
    expect(forced.out).toContain('only the target has them: b\n');
    const { a, b } = await scopesOf(sqlite);
    expect([a!.hot.sequence, b!.hot.sequence]).toEqual([20, 5]);
  });

  it('needs the locks of both', async () => {
    await fill(file, { a: soundState() });
    const holder = await file.open({ instance: 'holder' });
    for (const [from, to] of STORES) {
      await fill(sqlite, { a: soundState() });
      const { code, err } = await tidegate(['state', 'copy', address(from), address(to)]);
      expect(code).toBe(75);
      expect(err).toContain('in use by instance "holder"');
    }
    await holder.close();
  });

  it('into Postgres says what it has written, where it could not write it all', async () => {
    await fill(file, { a: soundState(), b: soundState(), c: soundState() });
    const postgres = await PostgresStore.create();
    const target = await postgres.open();
    await target.update('b', (state) => ({ state: withSequence(state, 1), outcome: null }));
    await target.close();
    const holder = new pg.Client({ connectionString: postgres.url });
    await holder.connect();
    await holder.query("begin; select from tidegate_scopes where name = 'b' for update");
    const partly = await tidegate(['state', 'copy', address('file'), postgres.url]);
    expect(partly).toMatchObject({ code: 75, out: '' });
    expect(partly.err).toContain('2 of 3 scopes were copied (a, c)');
    expect(partly.err).toContain('copy again');
    await holder.query('rollback');
    await holder.end();
    expect(await tidegate(['state', 'copy', address('file'), postgres.url])).toMatchObject({
      code: 0,
    });
    const sequences = `select name, hot->>'sequence' as sequence from tidegate_scopes order by name`;
    expect(await postgres.sql(sequences)).toEqual(
      ['a', 'b', 'c'].map((name) => ({ name, sequence: '9' })),
    );
    await postgres.dispose();
  });

  it('knows one store by two names, and two by one', async () => {
    const [one, two] = [await PostgresStore.create(), await PostgresStore.create()];
    const filled = await one.open();
    await filled.update('a', () => ({ state: soundState(), outcome: null }));
    await filled.close();
    const target = await two.open();
    await target.close();
    // As a backup that was put beside the original would have it.
    await two.sql('update tidegate_store set id = $1', [filled.health().id]);
    const proxy = await TcpProxy.open(one.url);
    const again = await tidegate(['state', 'copy', one.url, proxy.through(one.url), '--force']);
    expect(again).toMatchObject({ code: 64, out: '' });
    expect(again.err).toContain('FROM and TO are the same store');
    const copied = await tidegate(['state', 'copy', one.url, two.url]);
    expect(copied).toMatchObject({ code: 0, err: '' });
    expect(copied.out).toMatch(new RegExp(`${one.schema} -> .*${two.schema}: a\n`));
    expect(await two.sql('select name from tidegate_scopes')).toEqual([{ name: 'a' }]);
    await proxy.close();
    await one.dispose();
    await two.dispose();

    await fill(file, { a: soundState() });
    const link = `${file.directory}-link`;
    symlinkSync(file.directory, link);
    const linked = `file:${join(link, basename(file.path))}`;
    expect(await tidegate(['state', 'copy', address('file'), linked])).toEqual({ ...again });
    rmSync(link);
  });

  it('makes no store where there was none to copy', async () => {
    const { code, err } = await tidegate(['state', 'copy', address('file'), address('sqlite')]);
    expect(code).toBe(78);
    expect(err).toContain(`there is no state at ${address('file')}`);
    expect(() => statSync(file.directory)).toThrow('ENOENT');
    expect(() => statSync(sqlite.directory)).toThrow('ENOENT');
  });

  /** Nobody knows which scopes `store` had, but for `a`. */
  async function lose(store: StoreOnDisk): Promise<void> {
    await fill(store, { a: soundState() });
    for (const name of store.names()) {
      if (!name.endsWith('.lock')) rmSync(join(store.directory, name));
    }
    const lost = await store.open();
    await lost.update('a', (state) => ({ state: withSequence(state, 1), outcome: null }));
    await lost.close();
  }

  it.each(STORES)(
    '%s -> %s: into a store that would not know of the loss it is refused',
    async (from, to) => {
      await fill(storeOf(to), { b: soundState() });
      await lose(storeOf(from));
      for (const options of [[], ['--force']]) {
        const { code, out, err } = await tidegate([
          'state',
          'copy',
          address(from),
          address(to),
          ...options,
        ]);
        expect({ code, out }).toEqual({ code: 64, out: '' });
        expect(err).toContain(`${address(to)} would take them for new`);
        expect(err).toContain('move its files away');
      }
      expect(await scopesOf(storeOf(to))).toEqual({ b: soundState() });
      // As it says: where there is none yet the loss goes along, and the next copy finds it there.
      for (const name of storeOf(to).names()) rmSync(join(storeOf(to).directory, name));
      for (let time = 0; time < 2; time += 1) {
        const copied = await tidegate(['state', 'copy', address(from), address(to), '--force']);
        expect(copied).toMatchObject({ code: 0 });
        const copy = await storeOf(to).open();
        expect((await copy.read('never seen')).state.hot.lost).not.toBeNull();
        await copy.close();
      }
    },
  );

  it('takes along that something was lost, even for scopes nobody has seen yet', async () => {
    await lose(file);
    expect(await tidegate(['state', 'copy', address('file'), address('sqlite')])).toMatchObject({
      code: 0,
    });
    const copy = await sqlite.open();
    expect((await copy.read('a')).state.hot.lost).toMatchObject({ reason: 'missing' });
    expect((await copy.read('never seen')).state.hot.lost).not.toBeNull();
  });

  it.each(STORES)('of a killed run orphans what was in flight: %s -> %s', async (from, to) => {
    const upstream = await FakeUpstream.open(jsonMessage({ input: 300, output: 200 }));
    const env = { TIDEGATE_UPSTREAM: upstream.url, TIDEGATE_BUDGET: '1000000' };
    let gate = await TidegateProcess.start({ ...env, TIDEGATE_STATE: address(from) });
    for (let call = 0; call < 3; call += 1) await (await gate.call()).text();
    upstream.answer = () => {};
    void gate.call().catch(() => {});
    await until(() => upstream.seen.length === 4);
    const reserved = (await gate.scope()).limits[0]!.reserved;
    expect(reserved).toBeGreaterThan(0);
    await gate.kill();
    expect(await tidegate(['state', 'copy', address(from), address(to)])).toMatchObject({
      code: 0,
    });
    gate = await TidegateProcess.start({ ...env, TIDEGATE_STATE: address(to) });
    const limit = (await gate.scope()).limits[0]!;
    expect(limit).toMatchObject({ orphaned: reserved, reserved: 0 });
    expect(limit.used).toBeGreaterThanOrEqual(3 * 500 + reserved);
    expect((await gate.status()).recentStarts).toBe(2);
    await gate.kill();
    await upstream.close();
  });
});

describe.each(['file', 'sqlite'] as const)('show and check on %s', (kind) => {
  it('tell what is durable while it is in use, and change nothing', async () => {
    // Its time stands still, so that it does not write of its own accord.
    const time = new ManualTime();
    const store = kind === 'file' ? new FileStore(time) : new SqliteStore(time);
    const own = `${kind}:${store.path}`;
    const repository = await store.open();
    await repository.update('a', () => ({ state: soundState(), outcome: null }));
    const before = store
      .names()
      .map((name) => [name, statSync(join(store.directory, name)).mtimeMs]);
    const shown = await tidegate(['state', 'show', own]);
    expect(shown).toMatchObject({ code: 0, err: '' });
    for (const text of [
      'scope       a',
      '12_346 used of 300_000 (floor)',
      'quota until',
      'host-a',
    ]) {
      expect(shown.out.replaceAll(/ +/g, ' ')).toContain(text.replaceAll(/ +/g, ' '));
    }
    const data = JSON.parse((await tidegate(['state', 'show', own, '--json'])).out) as Record<
      string,
      unknown
    >;
    expect(data).toMatchObject({ store: own, loss: null, scopes: { a: soundState() } });
    const checked = await tidegate(['state', 'check'], { env: { TIDEGATE_STATE: own } });
    expect(checked).toMatchObject({ code: 0, err: '' });
    expect(checked.out).toContain('whole');
    const after = store
      .names()
      .map((name) => [name, statSync(join(store.directory, name)).mtimeMs]);
    expect(after).toEqual(before);
    await store.dispose();
  });

  it('find what is damaged, and leave it to a start to mend', async () => {
    const store = storeOf(kind);
    await fill(store, { a: soundState() });
    const bytes = readFileSync(store.path);
    const at = bytes.indexOf('"sequence"') + 1;
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(store.path, bytes);
    const { code, out } = await tidegate(['state', 'check', address(kind)]);
    expect(code).toBe(78);
    expect(out).toContain('not as it should be');
    expect(readFileSync(store.path)).toEqual(bytes);
  });

  it('show no id of one of which nothing can be read', async () => {
    const store = storeOf(kind);
    mkdirSync(dirname(store.path), { recursive: true });
    writeFileSync(store.path, 'no state');
    const { code, out } = await tidegate(['state', 'show', address(kind)]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /\nid +not known\ndamage +it is damaged, and nothing of it can be restored\n/,
    );
  });

  it('find that an older one was put in its place', async () => {
    const store = storeOf(kind);
    await fill(store, { a: soundState(1) });
    const old = readFileSync(store.path);
    // The journals of the next run alone would make up for it.
    await fill(store, { a: soundState(2) });
    await fill(store, { a: soundState(3) });
    writeFileSync(store.path, old);
    const { code, out } = await tidegate(['state', 'check', address(kind)]);
    expect(code).toBe(78);
    expect(out).toContain('older than what was there');
  });

  it('find sums that can’t be', async () => {
    const state = soundState();
    const limit = { ...state.hot.limits['tokens']!, used: 1, cells: [], bucket: null };
    await fill(storeOf(kind), {
      a: { ...state, hot: { ...state.hot, limits: { tokens: limit } } },
    });
    const { code, out } = await tidegate(['state', 'check', address(kind)]);
    expect(code).toBe(78);
    expect(out).toContain(
      'scope a: limit tokens: 13 in flight, 7 orphaned and 3 of others are more than the 1 used',
    );
  });

  it('say so where there is none', async () => {
    for (const word of ['show', 'check']) {
      const { code, err } = await tidegate(['state', word, address(kind)]);
      expect(code).toBe(78);
      expect(err).toContain('there is no state at');
    }
  });
});

describe('the command line', () => {
  it.each([[['show']], [['copy', 'FROM']], [['copy', 'TO']]])(
    'a directory is no store, and is left alone: %j',
    async ([verb, end]) => {
      const directory = dirname(file.path);
      await (await file.open()).close();
      const other = `sqlite:${sqlite.path}`;
      const store = `file:${directory}`;
      const args = end === 'FROM' ? [store, other] : end === 'TO' ? [other, store] : [store];
      const { code, err } = await tidegate(['state', verb!, ...args]);
      expect({ code, err }).toMatchObject({ code: 64 });
      expect(err).toContain(`names a directory; did you mean "${store}/state.json"?`);
      expect(statSync(file.path).isFile()).toBe(true);
    },
  );

  it.each([
    [[], 'Say what to do: show, check, copy'],
    [['shwo'], 'did you mean "show"?'],
    [['copy', 'file:./a'], 'Say from which store'],
    [['copy', 'file:./a', 'file:./a'], 'the same store'],
    [['show', 'postgres://tide:hunter2@db/'], 'names no database'],
  ])('%j', async (args, text) => {
    const { code, err } = await tidegate(['state', ...args]);
    expect(code).toBe(64);
    expect(err.toLowerCase()).toContain(text.toLowerCase());
    expect(err).not.toContain('hunter2');
  });
});

it('an empty state and a full one are sound', () => {
  expect(auditScope(emptyScopeState())).toEqual([]);
  expect(auditScope(soundState())).toEqual([]);
});
