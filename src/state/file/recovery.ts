import type { FileSystem } from '../../platform/durable-file.js';
import { randomHex } from '../../platform/random.js';
import { hasCode } from '../../platform/tidegate-error.js';
import { parseScopeState } from '../parse-state.js';
import type { FoundState } from '../held-state.js';
import { emptyScopeState, type Instant, type ScopeState } from '../scope-state.js';
import { read, type Reading, refuseIf } from '../reading.js';
import { hasSetAside } from '../set-aside.js';
import type { LossPolicy } from '../state-repository.js';
import { decodeDocument, isRecord, type ReadDocument, type StoreDocument } from './document.js';
import { findRecords, type FoundRecord } from './journal.js';

export interface StorePaths {
  readonly state: string;
  readonly previous: string;
  readonly journal: string;
}

export function storePaths(state: string): StorePaths {
  return { state, previous: `${state}.bak`, journal: `${state}.journal` };
}

/** What the files of a store tell. Reading them changes nothing. */
export interface Found extends FoundState {
  readonly stored: StoreDocument;
  /** No store was there. */
  readonly fresh: boolean;
  /** Files that can't be believed, to be set aside before the restored state is written; */
  readonly setAside: readonly string[];
  /** the journal only after it: until then no other file has its records. */
  readonly setJournalAside: boolean;
}

/**
 * Reads a store, restoring what can be restored.
 *
 * @param lockWasThere The lock of an earlier run tells of a store, even if nothing else does.
 * @throws TidegateError STATE_NEWER; STATE_CORRUPT under the policy `refuse`; system errors that
 *   say nothing about the files (too many are open, a network disk is away): try again later.
 */
export async function recover(
  files: FileSystem,
  paths: StorePaths,
  policy: LossPolicy,
  lockWasThere: boolean,
): Promise<Found> {
  const current = await read(files, paths.state, decodeDocument);
  const journal = await read(files, paths.journal, findRecords);
  if (current.kind === 'good') {
    const found = replay(current.value, journal);
    if (found.loss === 'altered') refuseIf(policy, paths.state, 'its checksum does not fit it');
    else if (found.loss !== null) refuseIf(policy, paths.journal, 'records in it are damaged');
    return found;
  }
  const previous = await read(files, paths.previous, decodeDocument);
  const traces = [current, journal, previous].some(({ kind }) => kind !== 'missing');
  if (!traces && !lockWasThere && !(await hasSetAside(files, paths.state))) {
    const loss = policy.onEmpty === 'cautious' ? 'empty' : null;
    return { ...NOTHING, stored: emptyDocument(randomHex(8)), loss, fresh: true };
  }
  refuseIf(policy, paths.state, current.kind === 'bad' ? current.why : 'it is missing');
  return salvage(paths, current, previous, journal);
}

const NOTHING = { recordedAt: null, setAside: [], setJournalAside: false };

/** The journal on top of the state.json it belongs to. */
function replay(document: ReadDocument, journal: Reading<FoundRecord[]>): Found {
  const records = journal.kind === 'good' ? journal.value : [];
  const own = records.filter(({ id }) => id === document.id);
  const merge = new Merge(document);
  let applied = 0;
  for (const record of own) {
    if (record.revision !== merge.revision + 1 || !merge.apply(record)) break;
    applied += 1;
  }
  // A torn last line is what a crash leaves: nobody was told that it is durable. A later record
  // behind a bad one shows that the bad one had been complete.
  const newer = own.slice(applied).filter(({ revision }) => revision > merge.revision);
  for (const record of newer) merge.apply(record);
  const damaged = newer.length > 0 || journal.kind === 'bad';
  // Nothing is damaged, but the journal goes on from a later state.json than this one.
  const rolledBack = newer[0]?.start === 0;
  return {
    ...NOTHING,
    ...merge.result(),
    loss: damaged ? (rolledBack ? 'rolled-back' : 'restored') : document.altered ? 'altered' : null,
    fresh: false,
    setJournalAside: damaged,
  };
}

/**
 * Without a state.json: the one before it, and every record that is newer, whatever lies between.
 */
function salvage(
  paths: StorePaths,
  current: Reading<StoreDocument>,
  previous: Reading<StoreDocument>,
  journal: Reading<FoundRecord[]>,
): Found {
  const records = journal.kind === 'good' ? journal.value : [];
  const ascending = records.toSorted((a, b) => a.revision - b.revision);
  const id = previous.kind === 'good' ? previous.value.id : ascending.at(-1)?.id;
  const merge = new Merge(
    previous.kind === 'good' ? previous.value : emptyDocument(id ?? randomHex(8)),
  );
  for (const record of ascending) {
    if (record.id === id && record.revision > merge.revision) merge.apply(record);
  }
  const setAside: string[] = [];
  if (current.kind === 'bad') setAside.push(paths.state);
  if (previous.kind === 'bad') setAside.push(paths.previous);
  return {
    ...merge.result(),
    loss: id !== undefined ? 'restored' : current.kind === 'missing' ? 'missing' : 'corrupt',
    fresh: false,
    setAside,
    setJournalAside: journal.kind === 'bad',
  };
}

/**
 * A document, and records applied to it: each overwrites the scopes it has, so the last one wins.
 */
class Merge {
  readonly #base: StoreDocument;
  readonly #scopes: Map<string, ScopeState>;
  #revision: number;
  #recordedAt: Instant;

  constructor(base: StoreDocument) {
    this.#base = base;
    this.#scopes = new Map(base.scopes);
    this.#revision = base.revision;
    this.#recordedAt = base.savedAt;
  }

  get revision(): number {
    return this.#revision;
  }

  /** False, and nothing is applied, if it can't be read as scopes. */
  apply(record: FoundRecord): boolean {
    try {
      const parsed = [...record.scopes].map(([name, raw]): [string, ScopeState] => {
        const { cold } = this.#scopes.get(name) ?? EMPTY;
        return [name, parseScopeState(isRecord(raw) ? { cold, ...raw } : raw, record.major)];
      });
      for (const [name, state] of parsed) this.#scopes.set(name, state);
    } catch (error) {
      if (hasCode(error, 'STATE_CORRUPT')) return false;
      throw error;
    }
    this.#revision = record.revision;
    this.#recordedAt = Math.max(this.#recordedAt, record.at);
    return true;
  }

  result(): { readonly stored: StoreDocument; readonly recordedAt: Instant | null } {
    const stored = { ...this.#base, revision: this.#revision, scopes: this.#scopes };
    return { stored, recordedAt: this.#recordedAt > 0 ? this.#recordedAt : null };
  }
}

const EMPTY = emptyScopeState();

function emptyDocument(id: string): StoreDocument {
  return { id, revision: 0, savedAt: 0, lost: null, scopes: new Map(), others: {} };
}
