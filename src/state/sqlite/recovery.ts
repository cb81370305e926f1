import type { FileSystem } from '../../platform/durable-file.js';
import { errorCode } from '../../platform/tidegate-error.js';
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
  // The copy first: an instance that writes both meanwhile would make the database look older.
  const previous = await readDatabase(files, paths.previous);
  const current = await readDatabase(files, paths.state);
  if (current.kind === 'good' && isWhole(current.value)) {
    return goOn(current.value, newerCopy(previous, current.value), paths, policy);
  }
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
function goOn(
  database: ReadDatabase,
  newer: ReadDatabase | null,
  paths: DatabasePaths,
  policy: LossPolicy,
): Found {
  const { altered, cutOff } = database;
  const older = newer !== null || cutOff !== null;
  const loss: LossReason | null = older ? 'rolled-back' : altered ? 'altered' : null;
  if (newer !== null) refuseIf(policy, paths.state, `it is older than ${paths.previous}`);
  else if (cutOff === 'mixed') refuseIf(policy, paths.state, `it is older than ${paths.log}`);
  else if (older) refuseIf(policy, paths.log, 'it is missing, and the database was in use');
  else if (altered) refuseIf(policy, paths.state, 'a checksum in it does not fit');
  const found = newer === null ? database : merge([newer, database]);
  return { ...resultOf(found), loss, fresh: false, rebuild: null };
}

/**
 * The copy, if it knows of a commit that the database does not: then that is an older one, put back
 * by somebody. A copy is made of what is durable, so no crash leaves that.
 *
 * One that can't be read tells nothing, and one that was altered nothing to rely on.
 */
function newerCopy(previous: Reading<ReadDatabase>, database: ReadDatabase): ReadDatabase | null {
  if (previous.kind !== 'good') return null;
  const copy = previous.value;
  if (copy.altered || copy.id !== database.id) return null;
  // Row by row: under the log of a later one the highest revision is right.
  const isNewer = ([name, { hotRevision, coldRevision }]: [string, ReadScope]) => {
    const own = database.scopes.get(name);
    return own === undefined || hotRevision > own.hotRevision || coldRevision > own.coldRevision;
  };
  const newer = copy.storeRevision > database.storeRevision || [...copy.scopes].some(isNewer);
  return newer ? copy : null;
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

/** What can be read of a damaged database, and of the version before. */
function salvage(current: Reading<ReadDatabase>, previous: Reading<ReadDatabase>): FoundState {
  const readings = [previous, current].flatMap((reading) =>
    reading.kind === 'good' ? [reading.value] : [],
  );
  const { id } = readings.findLast((reading) => reading.id !== '') ?? { id: '' };
  const merged = merge(readings.filter((reading) => reading.id === id || reading.id === ''));
  const nothing = id === '' && merged.scopes.size === 0;
  const loss = !nothing ? 'restored' : current.kind === 'missing' ? 'missing' : 'corrupt';
  const stored = { ...merged, id: id === '' ? randomHex(8) : id };
  return { ...resultOf(stored), loss };
}

type Result = Pick<ReadDatabase, 'id' | 'lost' | 'revision' | 'recordedAt' | 'scopes'>;

/** The newer of each part of each scope; where they are as new, that of the later reading. */
function merge(readings: readonly ReadDatabase[]): Result {
  const scopes = new Map<string, ReadScope>();
  for (const [name, scope] of readings.flatMap((reading) => [...reading.scopes])) {
    scopes.set(name, newerParts(scopes.get(name) ?? scope, scope));
  }
  return {
    id: readings.at(-1)?.id ?? '',
    lost: readings.find(({ lost }) => lost !== null)?.lost ?? null,
    revision: Math.max(0, ...readings.map(({ revision }) => revision)),
    recordedAt: Math.max(0, ...readings.map(({ recordedAt }) => recordedAt)),
    scopes,
  };
}

function newerParts(before: ReadScope, scope: ReadScope): ReadScope {
  const hot = scope.hotRevision >= before.hotRevision ? scope : before;
  const cold = scope.coldRevision >= before.coldRevision ? scope : before;
  const state = { ...cold.state, hot: hot.state.hot };
  return { hotRevision: hot.hotRevision, coldRevision: cold.coldRevision, state };
}

function resultOf(found: Result): Pick<FoundState, 'stored' | 'recordedAt'> {
  return { stored: storedOf(found), recordedAt: found.recordedAt > 0 ? found.recordedAt : null };
}

function storedOf({ id, lost, revision, recordedAt, scopes }: Result): StoredState {
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
