import type { FileSystem } from '../../platform/durable-file.js';
import { randomHex } from '../../platform/random.js';
import { hasCode } from '../../platform/tidegate-error.js';
import { isRecord } from '../check.js';
import { parseScopeState } from '../parse-state.js';
import type { FoundState } from '../held-state.js';
import { EMPTY_SCOPE, type Instant, type ScopeState } from '../scope-state.js';
import { read, type Reading, refuseIf } from '../reading.js';
import { type Doubtful, hasSetAside } from '../set-aside.js';
import type { LossPolicy } from '../state-repository.js';
import { decodeDocument, type ReadDocument, type StoreDocument } from './document.js';
import { type FoundJournal, type FoundRecord, readJournal } from './journal.js';

export interface StorePaths {
  readonly state: string;
  readonly previous: string;
  readonly journals: readonly [string, string];
}

export function storePaths(state: string): StorePaths {
  const journals = [`${state}.journal`, `${state}.journal2`] as const;
  return { state, previous: `${state}.bak`, journals };
}

/** What the files of a store tell. Reading them changes nothing. */
export interface Found extends FoundState {
  readonly stored: StoreDocument;
  /** No store was there. */
  readonly fresh: boolean;
  /** Files that can't be believed, to be set aside before the restored state is written; */
  readonly setAside: readonly Doubtful[];
  /** journals only after it: until then no other file has their records. */
  readonly setJournalsAside: readonly Doubtful[];
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
  const journals: JournalFile[] = [];
  for (const path of paths.journals) {
    const reading = await read(files, path, readJournal);
    const { records, begun } = reading.kind === 'good' ? reading.value : NO_JOURNAL;
    journals.push({ path, reading, records, begun });
  }
  if (current.kind === 'good') {
    const missing = journals.find((journal) => !isThere(journal, current.value));
    const found = replay(current.value, journals, missing !== undefined);
    const [doubtful] = found.setJournalsAside;
    if (doubtful !== undefined) refuseIf(policy, doubtful.path, RECORDS_DAMAGED);
    else if (missing !== undefined) refuseIf(policy, missing.path, NOT_THERE);
    else if (found.loss !== null) refuseIf(policy, paths.state, 'its checksum does not fit it');
    return found;
  }
  const previous = await read(files, paths.previous, decodeDocument);
  const readings = [current, previous, ...journals.map(({ reading }) => reading)];
  const traces = readings.some(({ kind }) => kind !== 'missing');
  if (!traces && !lockWasThere && !(await hasSetAside(files, paths.state))) {
    const loss = policy.onEmpty === 'cautious' ? 'empty' : null;
    return { ...NOTHING, stored: emptyDocument(randomHex(8)), loss, fresh: true };
  }
  refuseIf(policy, paths.state, current.kind === 'bad' ? current.why : 'it is missing');
  return salvage(paths, current, previous, journals);
}

interface JournalFile extends FoundJournal {
  readonly path: string;
  readonly reading: Reading<FoundJournal>;
}

const NO_JOURNAL: FoundJournal = { records: [], begun: [] };

const RECORDS_DAMAGED = 'records in it are damaged';
const NOT_THERE = 'it is missing, empty or another one, and state.json was in use';

/** The document needs no journals, or this is one of those it needs. */
function isThere({ records }: JournalFile, { id, journalsSince }: StoreDocument): boolean {
  if (journalsSince === null) return true;
  const [first] = records;
  return first?.start === 0 && first.id === id && first.revision === journalsSince;
}

const NOTHING = { recordedAt: null, setAside: [], setJournalsAside: [] };

/** The records of both, oldest first: a crash leaves the end of the log in one, or in both. */
function recordsOf(journals: readonly JournalFile[]): FoundRecord[] {
  return journals.flatMap(({ records }) => records).sort((a, b) => a.revision - b.revision);
}

/** The journals on top of the state.json they belong to; one of them may be missing. */
function replay(document: ReadDocument, journals: readonly JournalFile[], missing: boolean): Found {
  const own = recordsOf(journals).filter(({ id }) => id === document.id);
  const merge = new Merge(document);
  for (const record of own) {
    if (record.revision <= merge.revision) continue;
    if (record.revision !== merge.revision + 1 || !merge.apply(record)) break;
  }
  // A torn last line is what a crash leaves: nobody was told that it is durable. A later record
  // behind a bad one shows that the bad one had been complete.
  const end = merge.revision;
  const newer = own.filter(({ revision }) => revision > end);
  for (const record of newer) merge.apply(record);
  const bad = journals.some(({ reading }) => reading.kind === 'bad');
  // So does one that was only begun: nothing is written before the record before it is durable.
  const wasBegun = (revision: number) => journals.some(({ begun }) => begun.includes(revision));
  const damaged = newer.length > 0 || bad || (wasBegun(end + 1) && wasBegun(end + 2));
  // Nothing is damaged, but the journals go on from a later state.json than this one.
  const goesOn = ({ records }: JournalFile) => {
    const begin = records[0]?.start === 0 && records[0].scopes.size === 0 ? records[0].end : 0;
    const first = records.find(({ id, revision }) => id === document.id && revision > end);
    return first === undefined || first.start === 0 || first.start === begin;
  };
  const rolledBack =
    newer.length > 0 && !bad && end === document.revision && journals.every(goesOn);
  const unbelieved = missing ? 'rolled-back' : document.altered ? 'altered' : null;
  return {
    ...NOTHING,
    ...merge.result(),
    loss: damaged ? (rolledBack ? 'rolled-back' : 'restored') : unbelieved,
    fresh: false,
    setJournalsAside: damaged ? journals.filter(isWorthALook).map(doubtfulJournal) : [],
  };
}

function doubtfulJournal({ path, reading }: JournalFile): Doubtful {
  return { path, why: reading.kind === 'bad' ? reading.why : RECORDS_DAMAGED };
}

function isWorthALook({ reading, records, begun }: JournalFile): boolean {
  return reading.kind === 'bad' || records.length > 0 || begun.length > 0;
}

/**
 * Without a state.json: the one before it, and every record that is newer, whatever lies between.
 */
function salvage(
  paths: StorePaths,
  current: Reading<StoreDocument>,
  previous: Reading<StoreDocument>,
  journals: readonly JournalFile[],
): Found {
  const ascending = recordsOf(journals).filter(({ scopes }) => scopes.size > 0);
  const id = previous.kind === 'good' ? previous.value.id : ascending.at(-1)?.id;
  const merge = new Merge(
    previous.kind === 'good' ? previous.value : emptyDocument(id ?? randomHex(8)),
  );
  for (const record of ascending) {
    if (record.id === id && record.revision > merge.revision) merge.apply(record);
  }
  const setAside: Doubtful[] = [];
  if (current.kind === 'bad') setAside.push({ path: paths.state, why: current.why });
  if (previous.kind === 'bad') setAside.push({ path: paths.previous, why: previous.why });
  return {
    ...merge.result(),
    loss: id !== undefined ? 'restored' : current.kind === 'missing' ? 'missing' : 'corrupt',
    fresh: false,
    setAside,
    setJournalsAside: journals.filter(({ reading }) => reading.kind === 'bad').map(doubtfulJournal),
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
        // What the commit left as it was, fields that this version does not know among it.
        const { hot: _hot, ...rest } = this.#scopes.get(name) ?? EMPTY_SCOPE;
        return [name, parseScopeState(isRecord(raw) ? { ...rest, ...raw } : raw, record.major)];
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

function emptyDocument(id: string): StoreDocument {
  return {
    id,
    revision: 0,
    journalsSince: null,
    savedAt: 0,
    lost: null,
    scopes: new Map(),
    others: {},
  };
}
