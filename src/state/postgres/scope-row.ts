import { BEHIND_MS } from '../../platform/clock.js';
import { hasCode, TidegateError } from '../../platform/tidegate-error.js';
import { markBehind, marked, markSetRight } from '../clock-marks.js';
import { parseScopeState, parseStateLoss } from '../parse-state.js';
import {
  EMPTY_SCOPE,
  type Instant,
  type LossReason,
  type ScopeState,
  type StateLoss,
} from '../scope-state.js';
import type { LossPolicy } from '../state-repository.js';

/** Names one write of a row: two databases that went apart have the same revisions for a while. */
export interface Version {
  readonly revision: number;
  /** The process that wrote it, and which of its writes it was; of all it tried, no two are alike. */
  readonly writtenBy: string;
}

/** A scope as this process last saw it durable. */
export interface KnownScope {
  readonly hot: Version;
  readonly cold: Version;
  readonly state: ScopeState;
}

/** Of the one row of `tidegate_store`, with the database's clock. */
export interface StoreRow {
  readonly id: string;
  readonly schema_major: number;
  readonly lost: string | null;
  /** Epoch ms with a fraction. */
  readonly now: number;
  readonly synchronous_commit: string;
}

/** Of `tidegate_scopes`; numbers of 64 bits come as text. */
export interface HotRow {
  readonly revision: string;
  readonly written_by: string;
  readonly recorded_at: string;
  readonly clock_ahead_ms: string;
  readonly schema_major: number;
  /** Its cold part was written with this revision, or a later one; 0 where that is not known. */
  readonly least_cold: string;
  /** Null where it is the version asked about. */
  readonly hot: string | null;
}

/** Of `tidegate_scopes_cold`; all null where there is no row. */
export interface ColdRow {
  readonly cold_revision: string | null;
  readonly cold_written_by: string | null;
  /** Null where it is the version asked about. */
  readonly cold: string | null;
  /** Fields beside `hot` and `cold` that this version does not know. */
  readonly others: string | null;
}

/** What was found of a scope. */
export interface FoundRows {
  readonly store: StoreRow;
  readonly hot: HotRow | undefined;
  readonly cold: ColdRow;
}

/** What this process has seen of a scope before. */
interface Seen {
  readonly known: KnownScope | undefined;
  /** The latest instant told of it; `now` never lies before it. */
  readonly toldAt: Instant;
}

/** A scope as the database has it, ready for a decision. */
export interface FoundScope {
  readonly state: ScopeState;
  readonly now: Instant;
  /** How far `now` is ahead of the database's clock, which went back. */
  readonly aheadMs: number;
  /** What the server does at COMMIT, if nothing is said. */
  readonly synchronousCommit: string;
  /** There is a row to update. */
  readonly exists: boolean;
  /** Nothing was marked: the state is what the row says. */
  readonly asStored: boolean;
  readonly hot: Version;
  readonly cold: Version;
  /** Why a part of the row can't be believed: it is to be set aside when the scope is written. */
  readonly damage: string | null;
}

/** Another database answers than before, or an emptied one. */
export class StoreReplaced extends Error {}

export const NEVER: Version = { revision: 0, writtenBy: '' };

/**
 * Makes a scope's state out of its rows, and marks it where it was lost: damaged, or older than what
 * this process has seen.
 *
 * @throws TidegateError STATE_NEWER; STATE_CORRUPT under the policy `refuse`.
 */
export function readScope(
  { store, hot: row, cold }: FoundRows,
  policy: LossPolicy,
  { known, toldAt }: Seen = { known: undefined, toldAt: 0 },
): FoundScope {
  const time = {
    ...readClock(store.now, row, toldAt),
    synchronousCommit: store.synchronous_commit,
  };
  const lossAt = (reason: LossReason): StateLoss => ({ reason, at: time.now, recordedAt: null });
  if (row === undefined) {
    const rest = parseColdAlone(store, cold, known);
    const { damage } = rest;
    if (damage !== null && policy.onCorrupt === 'refuse') throw refused(damage);
    const seen = Math.max(known?.hot.revision ?? 0, Number(cold.cold_revision));
    const hot = { revision: seen, writtenBy: '' };
    const storeLost = store.lost === null ? null : parseStateLoss(JSON.parse(store.lost));
    const noticed = damage === null ? storeLost : lossAt('corrupt');
    const state = marked(rest.state, known === undefined ? noticed : lossAt('rolled-back'));
    return { ...time, state, exists: false, asStored: false, hot, cold: NEVER, damage };
  }
  const parsed = parseRows(row, cold, known);
  const hot = versionOf(row, cold);
  if (parsed.damage !== null && policy.onCorrupt === 'refuse') throw refused(parsed.damage);
  const found = {
    ...time,
    exists: true,
    asStored: false,
    cold: { revision: Number(cold.cold_revision), writtenBy: cold.cold_written_by ?? '' },
    damage: parsed.damage,
  };
  if (time.behind !== null) {
    return { ...found, hot, state: markBehind(parsed.state, time.behind, time.now) };
  }
  if (known !== undefined && isOlder(hot, known.hot)) {
    // Above all that was seen, so that nobody notices the same loss again.
    const above = { revision: Math.max(hot.revision, known.hot.revision), writtenBy: '' };
    return { ...found, hot: above, state: marked(parsed.state, lossAt('rolled-back')) };
  }
  if (parsed.loss !== null) {
    return { ...found, hot, state: marked(parsed.state, lossAt(parsed.loss)) };
  }
  const state = markSetRight(parsed.state, time.now - Number(row.recorded_at), time.now);
  return { ...found, hot, state, asStored: state === parsed.state };
}

/** Both parts of a scope are written with one revision, or the hot one alone with a later one. */
function versionOf(row: HotRow, { cold_revision }: ColdRow): Version {
  const [revision, latest] = [Number(row.revision), Number(cold_revision)];
  // The next one must be above both.
  if (revision < latest) return { revision: latest, writtenBy: '' };
  return { revision, writtenBy: row.written_by };
}

/** Why the two parts can't be of one time, as where one table was put back; else null. */
function tearOf(row: HotRow, cold: ColdRow, known: KnownScope | undefined): string | null {
  const revision = Number(cold.cold_revision);
  if (revision > Number(row.revision)) return 'hot: older than the cold part';
  if (revision < Number(row.least_cold)) return 'cold: older than the hot part';
  const isOther = known !== undefined && row.hot === null && cold.cold !== null;
  return isOther ? 'cold: another than the hot part was written with' : null;
}

export function isSame(one: Version, other: Version): boolean {
  return one.revision === other.revision && one.writtenBy === other.writtenBy;
}

function isOlder(found: Version, seen: Version): boolean {
  if (found.revision !== seen.revision) return found.revision < seen.revision;
  return found.writtenBy !== seen.writtenBy;
}

/**
 * The database's clock, never going back: where it lies behind the record, time goes on from the
 * record by its measure, until it has caught up. `behind`: it lies too far behind for that.
 */
function readClock(
  databaseNow: number,
  row: HotRow | undefined,
  toldAt: Instant,
): { readonly now: Instant; readonly aheadMs: number; readonly behind: Instant | null } {
  const clock = Math.floor(databaseNow);
  const recordedAt = row === undefined ? 0 : Number(row.recorded_at);
  if (recordedAt - clock > BEHIND_MS) return { now: clock, aheadMs: 0, behind: recordedAt };
  const goesOn = clock + (clock < recordedAt ? Number(row?.clock_ahead_ms) : 0);
  const now = Math.max(goesOn, recordedAt, toldAt - clock > BEHIND_MS ? 0 : toldAt);
  return { now, aheadMs: now - clock, behind: null };
}

interface Parsed {
  readonly state: ScopeState;
  readonly loss: LossReason | null;
  readonly damage: string | null;
}

/** Keeps the half that is good, if the other is not. */
function parseRows(row: HotRow, cold: ColdRow, known: KnownScope | undefined): Parsed {
  if (row.hot === null && cold.cold === null && known !== undefined) {
    return { state: known.state, loss: null, damage: null };
  }
  const { hot: knownHot, cold: knownCold, ...knownOthers } = known?.state ?? EMPTY_SCOPE;
  const rawHot: unknown = row.hot === null ? knownHot : JSON.parse(row.hot);
  const fresh = cold.cold !== null;
  const rawCold: unknown = fresh ? JSON.parse(cold.cold) : knownCold;
  const others: object = fresh ? JSON.parse(cold.others ?? '{}') : knownOthers;
  const parse = (hotPart: unknown, coldPart: unknown) =>
    parseScopeState({ ...others, hot: hotPart, cold: coldPart }, row.schema_major);
  try {
    if (cold.cold_revision === null) throw new TidegateError('STATE_CORRUPT', 'cold: no row');
    const damage = tearOf(row, cold, known);
    return {
      state: parse(rawHot, rawCold),
      loss: damage === null ? null : 'rolled-back',
      damage,
    };
  } catch (error) {
    if (!hasCode(error, 'STATE_CORRUPT')) throw error;
    const damage = error.message;
    const withoutCold = attempt(() => parse(rawHot, EMPTY_SCOPE.cold));
    if (withoutCold !== null) return { state: withoutCold, loss: 'restored', damage };
    const withoutHot = attempt(() => parse(EMPTY_SCOPE.hot, rawCold));
    return { state: withoutHot ?? EMPTY_SCOPE, loss: 'corrupt', damage };
  }
}

/** What is left of a scope whose hot row is gone: samples, starts, what models cost. */
function parseColdAlone(
  { schema_major }: StoreRow,
  { cold_revision, cold, others }: ColdRow,
  known: KnownScope | undefined,
): { readonly state: ScopeState; readonly damage: string | null } {
  if (cold_revision === null) return { state: EMPTY_SCOPE, damage: null };
  // Null is what this process knows already.
  const { cold: knownCold } = known?.state ?? EMPTY_SCOPE;
  const rest = {
    ...JSON.parse(others ?? '{}'),
    cold: cold === null ? knownCold : JSON.parse(cold),
  };
  const state = attempt(() => parseScopeState({ ...rest, hot: EMPTY_SCOPE.hot }, schema_major));
  return { state: state ?? EMPTY_SCOPE, damage: 'hot: no row' };
}

function attempt(parse: () => ScopeState): ScopeState | null {
  try {
    return parse();
  } catch (error) {
    if (hasCode(error, 'STATE_CORRUPT')) return null;
    throw error;
  }
}

function refused(damage: string): TidegateError {
  return new TidegateError('STATE_CORRUPT', `a scope in the database can't be used: ${damage}`, {
    hint: 'restore its rows, which "tidegate state check" names, or set TIDEGATE_ON_CORRUPT_STATE=cautious to go on',
  });
}
