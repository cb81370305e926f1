import { crc32 } from 'node:zlib';
import { TidegateError } from '../../platform/tidegate-error.js';
import type { StoredState } from '../held-state.js';
import { isInstant, isRevision } from '../check.js';
import { checkMajor, parseStateLoss } from '../parse-state.js';
import {
  EMPTY_SCOPE,
  type Instant,
  SCHEMA,
  type ScopeState,
  type StateLoss,
} from '../scope-state.js';

export const TABLES = ['store', 'scope_hot', 'scope_cold'] as const;
export type Table = (typeof TABLES)[number];

/** The store's own row is under this name, in a table of its own. */
export const STORE = '';

export interface Row {
  readonly scope: string;
  /** Of the write that made it. */
  readonly revision: number;
  readonly updated_at: Instant;
  readonly checksum: number;
  readonly document: string;
}

/** What a commit writes; strings, for they go to another thread as they are. */
export interface Write {
  readonly table: Table;
  readonly scope: string;
  readonly document: string;
}

/** What the document in `store` says. */
export interface StoreFacts {
  readonly id: string;
  readonly major: number;
  /** A run began and has not ended cleanly: its log must be there. */
  readonly inUse: boolean;
  readonly lost: StateLoss | null;
}

export function storeWrite(id: string, lost: StateLoss | null, inUse: boolean): Write {
  const document = documentOf({ schema: SCHEMA, id, inUse, lost });
  return { table: 'store', scope: STORE, document };
}

/** @throws TidegateError STATE_CORRUPT, STATE_NEWER. */
export function readStoreFacts(document: string): StoreFacts {
  const { schema, id, inUse, lost } = parseJson(document) as {
    schema?: { major?: unknown };
    id?: unknown;
    inUse?: unknown;
    lost?: unknown;
  };
  const major = schema?.major;
  checkMajor(major);
  if (typeof id !== 'string' || typeof inUse !== 'boolean') {
    throw corrupt('id or inUse is missing or of the wrong type');
  }
  const loss = lost === null || lost === undefined ? null : parseStateLoss(lost);
  return { id, major, inUse, lost: loss };
}

/**
 * What of a scope changed: its hot part, or all the rest of it, fields that this version does not know
 * among it.
 */
export function writesOf(
  scope: string,
  state: ScopeState,
  before: ScopeState | undefined,
): Write[] {
  const writes: Write[] = [];
  if (before === undefined || state.hot !== before.hot) {
    writes.push({ table: 'scope_hot', scope, document: documentOf(state.hot) });
  }
  if (before === undefined || restChanged(state, before)) {
    const { hot: _, ...rest } = state;
    writes.push({ table: 'scope_cold', scope, document: documentOf(rest) });
  }
  return writes;
}

function restChanged(state: ScopeState, before: ScopeState): boolean {
  const now: Readonly<Record<string, unknown>> = { ...state };
  const then: Readonly<Record<string, unknown>> = { ...before };
  const names = Object.keys(now).filter((name) => name !== 'hot');
  return (
    names.length !== Object.keys(then).length - 1 || names.some((name) => now[name] !== then[name])
  );
}

/** Every row of a store. */
export function allWrites({ id, lost, scopes }: StoredState, inUse: boolean): Write[] {
  const rows = [...scopes].flatMap(([scope, state]) => writesOf(scope, state, undefined));
  return [storeWrite(id, lost, inUse), ...rows];
}

/** A scope's document out of its two rows; null if the cold one is lost, which is the lesser loss. */
export function joinParts(hot: string, cold: string | null): unknown {
  const rest = cold === null ? { cold: EMPTY_SCOPE.cold } : parseJson(cold);
  return { ...rest, hot: parseJson(hot) };
}

export function rowOf({ scope, document }: Write, revision: number, at: Instant): Row {
  const row = { scope, revision, updated_at: at, document };
  return { ...row, checksum: checksumOf(row) };
}

/** Against accidents, not against people. Signed, so that it takes four bytes in a row. */
export function checksumOf(row: Omit<Row, 'checksum'>): number {
  return crc32(`${row.scope}\n${row.revision}\n${row.updated_at}\n${row.document}`) | 0;
}

/**
 * A row that keeps its size is written over in place; one that does not gives its pages back first, and
 * a commit writes one page more for that. So documents grow in steps.
 */
const STEP = 128;

function documentOf(value: object): string {
  const text = JSON.stringify(value);
  return text.padEnd(Math.ceil(text.length / STEP) * STEP);
}

/** @throws TidegateError STATE_CORRUPT for a row that can't be one. */
export function checkRow(row: Row): void {
  if (!isRevision(row.revision) || !isInstant(row.updated_at)) {
    throw corrupt('a row has an impossible revision or instant');
  }
}

function parseJson(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    throw corrupt('a document in it is not JSON', error);
  }
  throw corrupt('a document in it is not an object');
}

export function corrupt(message: string, cause?: unknown): TidegateError {
  return new TidegateError('STATE_CORRUPT', message, { cause });
}
