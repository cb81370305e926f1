import { errorCode, type FileSystem } from '../../platform/durable-file.js';
import { randomHex } from '../../platform/random.js';
import type { FoundState, StoredState } from '../held-state.js';
import { type Reading, refuseIf } from '../reading.js';
import type { LossReason } from '../scope-state.js';
import { hasSetAside } from '../set-aside.js';
import type { LossPolicy } from '../state-repository.js';
import { type ReadDatabase, readDatabase, type ReadScope } from './read-database.js';

export interface DatabasePaths {
  readonly state: string;
  /** SQLite's write-ahead log, and its index, which can be made anew at any time. */
  readonly log: string;
  readonly index: string;
  /** Its rollback journal; there is one only while the mode of a new database is changed. */
  readonly journal: string;
  readonly previous: string;
}

export function databasePaths(state: string): DatabasePaths {
  return {
    state,
    log: `${state}-wal`,
    index: `${state}-shm`,
    journal: `${state}-journal`,
    previous: `${state}.bak`,
  };
}

/** What the files of a store tell. Reading them changes nothing. */
export interface Found extends FoundState {
  /** No store was there. */
  readonly fresh: boolean;
  /** Why the files can't be gone on with: they are set aside, and a new database is made. Null: they can. */
  readonly rebuild: string | null;
}

/**
 * Reads a store, restoring what can be restored.
 *
 * @throws TidegateError STATE_NEWER; STATE_CORRUPT under the policy `refuse`; system errors that
 *   say nothing about the files (too many are open, a network disk is away): try again later.
 */
export async function recover(
  files: FileSystem,
  paths: DatabasePaths,
  policy: LossPolicy,
  lockWasThere: boolean,
): Promise<Found> {
  const current = await readDatabase(files, paths.state);
  if (current.kind === 'good' && isWhole(current.value)) return goOn(current.value, paths, policy);
  const previous = await readDatabase(files, paths.previous);
  const traces =
    [current, previous].some(({ kind }) => kind !== 'missing') ||
    (await exists(files, paths.log)) ||
    lockWasThere ||
    (await hasSetAside(files, paths.state));
  if (!traces) {
    const loss = policy.onEmpty === 'cautious' ? 'empty' : null;
    const stored = emptyState(randomHex(8));
    return { stored, loss, recordedAt: null, fresh: true, rebuild: 'there was none' };
  }
  const why = whyNot(current);
  refuseIf(policy, why === LOG_DAMAGED ? paths.log : paths.state, why);
  return { ...salvage(current, previous), fresh: false, rebuild: why };
}

/** The database is good; it may have been altered, or be older than what was there. */
function goOn(database: ReadDatabase, paths: DatabasePaths, policy: LossPolicy): Found {
  const { altered, cutOff } = database;
  const loss: LossReason | null = cutOff !== null ? 'rolled-back' : altered ? 'altered' : null;
  if (cutOff !== null) refuseIf(policy, paths.log, 'it is missing, and the database was in use');
  else if (altered) refuseIf(policy, paths.state, 'a checksum in it does not fit');
  return { ...resultOf(database), loss, fresh: false, rebuild: null };
}

/** Nothing in it is damaged, and no commit torn out of its log. */
export function isWhole({ faults, cutOff }: ReadDatabase): boolean {
  return faults.length === 0 && cutOff !== 'log damaged';
}

const LOG_DAMAGED = 'commits in it are damaged';

function whyNot(current: Reading<ReadDatabase>): string {
  if (current.kind === 'missing') return 'it is missing';
  if (current.kind === 'bad') return current.why;
  return current.value.faults[0] ?? LOG_DAMAGED;
}

/** What can be read of a damaged database, and of the version before: the newer of each scope. */
function salvage(current: Reading<ReadDatabase>, previous: Reading<ReadDatabase>): FoundState {
  const readings = [previous, current].flatMap((reading) =>
    reading.kind === 'good' ? [reading.value] : [],
  );
  const { id } = readings.findLast((reading) => reading.id !== '') ?? { id: '' };
  const own = readings.filter((reading) => reading.id === id || reading.id === '');
  const scopes = new Map<string, ReadScope>();
  for (const [name, scope] of own.flatMap((reading) => [...reading.scopes])) {
    if (scope.revision >= (scopes.get(name)?.revision ?? 0)) scopes.set(name, scope);
  }
  const merged = {
    id: id === '' ? randomHex(8) : id,
    lost: own.find(({ lost }) => lost !== null)?.lost ?? null,
    revision: Math.max(0, ...own.map(({ revision }) => revision)),
    recordedAt: Math.max(0, ...own.map(({ recordedAt }) => recordedAt)),
    scopes,
  };
  const nothing = id === '' && scopes.size === 0;
  const loss = !nothing ? 'restored' : current.kind === 'missing' ? 'missing' : 'corrupt';
  return { ...resultOf(merged), loss };
}

type Result = Pick<ReadDatabase, 'id' | 'lost' | 'revision' | 'recordedAt' | 'scopes'>;

function resultOf(found: Result): Pick<FoundState, 'stored' | 'recordedAt'> {
  return { stored: storedOf(found), recordedAt: found.recordedAt > 0 ? found.recordedAt : null };
}

export function storedOf({ id, lost, revision, recordedAt, scopes }: Result): StoredState {
  const states = new Map([...scopes].map(([name, { state }]) => [name, state]));
  return { id, lost, revision, savedAt: recordedAt, scopes: states };
}

function emptyState(id: string): StoredState {
  return { id, revision: 0, savedAt: 0, lost: null, scopes: new Map() };
}

export async function exists(files: FileSystem, path: string): Promise<boolean> {
  try {
    await files.stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
