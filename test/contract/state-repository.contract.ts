import { expect } from 'vitest';
import { hasCode } from '../../src/platform/tidegate-error.js';
import { emptyScopeState } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { MAX_WAITING } from '../../src/state/update-queue.js';
import {
  fullScopeState,
  increment,
  look,
  sequenceOf,
  setSequence,
  withSequence,
} from '../support/scope-states.js';

/** One store, empty at first, and whatever it takes to open it. */
export interface StoreHarness {
  /** Opens the store. Whoever had it open has closed it. */
  open(): Promise<StateRepository>;
  /**
   * Opens what is durable at the very moment of the call, as after a power cut. The store itself
   * stays as it is, open.
   */
  crash(): Promise<StateRepository>;
  /** Closes all that it opened, and removes the store. */
  dispose(): Promise<void>;
}

export interface ContractCase {
  readonly name: string;
  /** What a store must do for it; a double that doesn't must fail here. */
  readonly needs: 'order' | 'a save' | 'a save before the answer';
  run(harness: StoreHarness): Promise<void>;
}

/** What every adapter does alike: see the port, StateRepository. */
export const CONTRACT: readonly ContractCase[] = [
  {
    name: 'updates of a scope are serial, and each sees the one before it',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const outcomes = await Promise.all(
        Array.from({ length: 500 }, () => store.update('a', increment)),
      );
      expect(outcomes).toEqual(Array.from({ length: 500 }, (_, index) => index));
      expect(await sequenceOf(store, 'a')).toBe(500);
    },
  },
  {
    name: 'updates in a row from several callers lose nothing',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const caller = async () => {
        for (let n = 0; n < 20; n += 1) await store.update('a', increment);
      };
      await Promise.all(Array.from({ length: 10 }, caller));
      expect(await sequenceOf(store, 'a')).toBe(200);
    },
  },
  {
    name: 'a decision that throws rejects its own update and changes nothing',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const wrong = new Error('no');
      const [before, thrown, after] = await Promise.allSettled([
        store.update('a', increment),
        store.update('a', () => {
          throw wrong;
        }),
        store.update('a', increment),
      ]);
      expect(before).toEqual({ status: 'fulfilled', value: 0 });
      expect(thrown).toEqual({ status: 'rejected', reason: wrong });
      expect(after).toEqual({ status: 'fulfilled', value: 1 });
      expect(await sequenceOf(store, 'a')).toBe(2);
    },
  },
  {
    name: 'a state that could not be read again rejects its own update and changes nothing',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const results = await Promise.allSettled([
        store.update('a', increment),
        store.update('a', setSequence(Number.NaN)),
        store.update('b', increment),
        store.update('a', increment),
      ]);
      const status = results.map((result) => result.status);
      expect(status).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
      expect(String((results[1] as PromiseRejectedResult).reason)).toContain('hot.sequence');
      expect(await sequenceOf(store, 'a')).toBe(2);
    },
  },
  {
    name: 'an update that changes nothing writes nothing',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      await store.update('a', increment);
      const { revision } = store.health();
      expect((await store.update('a', look)).hot.sequence).toBe(1);
      expect((await store.update('b', look)).hot).toEqual(emptyScopeState().hot);
      expect(store.health().revision).toBe(revision);
      expect(await store.list()).toEqual(['a']);
    },
  },
  {
    name: 'scopes are independent',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      await Promise.allSettled([
        store.update('a', setSequence(10)),
        store.update('b', setSequence(20)),
        store.update('c', () => {
          throw new Error('no');
        }),
        store.update('a', increment),
      ]);
      expect(await sequenceOf(store, 'a')).toBe(11);
      expect(await sequenceOf(store, 'b')).toBe(20);
      expect(await store.list()).toEqual(['a', 'b']);
    },
  },
  {
    name: 'a scope never written reads as empty and is not listed; names are sorted',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      expect((await store.read('a')).state).toEqual(emptyScopeState());
      expect(await store.list()).toEqual([]);
      for (const scope of ['b', 'a', 'B']) await store.update(scope, increment);
      expect(await store.list()).toEqual(['B', 'a', 'b']);
    },
  },
  {
    name: 'the clock of decisions and of reading never goes back',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const seen: number[] = [];
      for (let n = 0; n < 5; n += 1) {
        seen.push(await store.update('a', (state, now) => ({ state, outcome: now })));
        seen.push((await store.read('a')).now);
      }
      expect(seen.every(Number.isFinite)).toBe(true);
      expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    },
  },
  {
    name: 'callers that wait are bounded; those within the bound are served',
    needs: 'order',
    async run(harness) {
      const store = await harness.open();
      const calls = Array.from({ length: MAX_WAITING + 1 }, () => store.update('a', increment));
      const results = await Promise.allSettled(calls);
      const refused = results.filter((result) => result.status === 'rejected');
      expect(refused).toHaveLength(1);
      expect(hasCode(refused[0]!.reason, 'STATE_UNAVAILABLE')).toBe(true);
      expect(await sequenceOf(store, 'a')).toBe(MAX_WAITING);
    },
  },
  {
    name: 'an outcome is told only once it is durable',
    needs: 'a save before the answer',
    async run(harness) {
      const store = await harness.open();
      for (let n = 1; n <= 5; n += 1) {
        await store.update('a', increment);
        expect(await sequenceOf(await harness.crash(), 'a')).toBe(n);
      }
    },
  },
  {
    name: 'a crash among concurrent updates keeps every one that was answered',
    needs: 'a save before the answer',
    async run(harness) {
      const store = await harness.open();
      let answered = 0;
      let crashed: Promise<StateRepository> | undefined;
      let answeredAtCrash = 0;
      const caller = async () => {
        for (let n = 0; n < 20; n += 1) {
          await store.update('a', increment);
          answered += 1;
          if (answered === 150) {
            answeredAtCrash = answered;
            crashed = harness.crash();
          }
        }
      };
      await Promise.all(Array.from({ length: 10 }, caller));
      expect(await sequenceOf(await crashed!, 'a')).toBeGreaterThanOrEqual(answeredAtCrash);
    },
  },
  {
    name: 'an update that changed nothing, but saw a change, is told once that change is durable',
    needs: 'a save before the answer',
    async run(harness) {
      const store = await harness.open();
      const change = store.update('a', increment);
      const seen = await store.update('a', look);
      expect(seen.hot.sequence).toBe(1);
      expect(await sequenceOf(await harness.crash(), 'a')).toBe(1);
      await change;
    },
  },
  {
    name: 'every part of a state survives, types and all',
    needs: 'a save',
    async run(harness) {
      const store = await harness.open();
      await store.update('a', () => ({ state: fullScopeState(), outcome: null }));
      await store.close();
      expect((await (await harness.open()).read('a')).state).toEqual(fullScopeState());
    },
  },
  {
    name: 'hot and cold part change apart, and both survive a crash',
    needs: 'a save before the answer',
    async run(harness) {
      const store = await harness.open();
      const full = fullScopeState();
      await store.update('a', () => ({ state: full, outcome: null }));
      await store.update('a', increment);
      await store.update('a', (state) => ({
        state: { ...state, cold: { ...state.cold, starts: {} } },
        outcome: null,
      }));
      await store.update('a', increment);
      const expected = withSequence(full, full.hot.sequence + 2);
      expect((await (await harness.crash()).read('a')).state).toEqual({
        ...expected,
        cold: { ...full.cold, starts: {} },
      });
    },
  },
  {
    name: 'fields that this version does not know are kept',
    needs: 'a save',
    async run(harness) {
      const extra = { later: { note: 'from a later version', deep: { list: [1, { x: null }] } } };
      const store = await harness.open();
      await store.update('a', (state) => ({
        state: {
          ...state,
          ...extra,
          hot: { ...state.hot, ...extra, counters: { ...state.hot.counters, ...extra } },
          cold: { ...state.cold, ...extra },
        },
        outcome: null,
      }));
      await store.close();
      const again = await harness.open();
      await again.update('a', increment);
      await again.close();
      const { state } = await (await harness.open()).read('a');
      expect(state).toMatchObject({
        ...extra,
        hot: { ...extra, counters: extra },
        cold: extra,
      });
      expect(state.hot.sequence).toBe(1);
    },
  },
  {
    name: 'the id stays and the revision rises',
    needs: 'a save',
    async run(harness) {
      const store = await harness.open();
      const { id } = store.health();
      expect(id).not.toBe('');
      let last = store.health().revision;
      for (let n = 0; n < 3; n += 1) {
        await store.update('a', increment);
        expect(store.health()).toMatchObject({ healthy: true, problem: null, id });
        expect(store.health().revision).toBeGreaterThan(last);
        last = store.health().revision;
      }
      await store.close();
      const again = await harness.open();
      expect(again.health().id).toBe(id);
      expect(again.health().revision).toBeGreaterThanOrEqual(last);
      await again.update('a', increment);
      expect(again.health().revision).toBeGreaterThan(last);
      expect(await sequenceOf(again, 'a')).toBe(4);
    },
  },
  {
    name: 'a scope may have any name',
    needs: 'a save',
    async run(harness) {
      const names = ANY_NAMES.toSorted();
      const store = await harness.open();
      for (const [index, name] of names.entries()) await store.update(name, setSequence(index + 1));
      expect(await store.list()).toEqual(names);
      await store.close();
      const again = await harness.open();
      expect(await again.list()).toEqual(names);
      for (const [index, name] of names.entries()) {
        expect(await sequenceOf(again, name)).toBe(index + 1);
      }
    },
  },
  {
    name: 'closing makes durable what was accepted, and ends the rest',
    needs: 'a save',
    async run(harness) {
      const store = await harness.open();
      const accepted = Array.from({ length: 20 }, () => store.update('a', increment));
      const closed = store.close();
      const late = store.update('a', increment).catch((error: unknown) => error);
      expect(hasCode(await late, 'STATE_CLOSED')).toBe(true);
      await closed;
      expect(await Promise.all(accepted)).toHaveLength(20);
      await store.close();
      for (const call of [store.read('a'), store.list(), store.update('a', look)]) {
        const error: unknown = await (call as Promise<unknown>).catch((reason: unknown) => reason);
        expect(hasCode(error, 'STATE_CLOSED')).toBe(true);
      }
      expect(store.health().id).not.toBe('');
      expect(await sequenceOf(await harness.open(), 'a')).toBe(20);
    },
  },
];

const ANY_NAMES = [
  '',
  ' ',
  'api.anthropic.com',
  'ünï/çødé 🌊 漢字',
  'with "quotes", \\ and\nnewlines',
  '__proto__',
  'constructor',
  'hasOwnProperty',
  '{"revision":1',
  'x'.repeat(2_000),
];
