import { crc32 } from 'node:zlib';
import { rfc3339 } from '../../platform/clock.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import type { StoredState } from '../held-state.js';
import { isInstant, isRecord, isRevision } from '../check.js';
import { checkMajor, parseScopeState, parseStateLoss } from '../parse-state.js';
import { SCHEMA, type ScopeState } from '../scope-state.js';

/** All that `state.json` says. */
export interface StoreDocument extends StoredState {
  /** Of the write that made it; the journal goes on from there. */
  readonly revision: number;
  /**
   * It was in use: without journals that begin with this revision it is older than what was. Null: it
   * is whole without any.
   */
  readonly journalsSince: number | null;
  /** Fields that this version does not know. */
  readonly others: Readonly<Record<string, unknown>>;
}

export interface ReadDocument extends StoreDocument {
  /** Not as Tidegate wrote it: edited by hand, or damaged where it does not show. */
  readonly altered: boolean;
}

/*
 * The envelope stays the same in every major schema, so that any version can tell what is too new for
 * it: the fields `tidegate` and `schema`, and the checksum of all bytes before it as the last line but
 * one. Without the checksum a flipped bit in a digit would be believed. Where it does not fit and all
 * else is in order, a person may have edited the file: it is taken, but not trusted.
 */
const KIND = 'state';
const TRAILER = /^,\n {2}"checksum": "([0-9a-f]{8})"\n\}\n$/;
const TRAILER_BYTES = ',\n  "checksum": "00000000"\n}\n'.length;

const KNOWN = new Set([
  'tidegate',
  'schema',
  'id',
  'revision',
  'journals',
  'savedAt',
  'savedAtText',
  'lost',
  'scopes',
  'checksum',
]);

export function encodeDocument(document: StoreDocument): string {
  const { id, revision, journalsSince, savedAt, lost, scopes, others } = document;
  const fields = {
    tidegate: KIND,
    schema: SCHEMA,
    ...others,
    id,
    revision,
    // With the revision that says so: an older version keeps the field, and makes other journals.
    journals: journalsSince === null ? null : { since: journalsSince, revision },
    savedAt,
    savedAtText: rfc3339(savedAt),
    lost,
    // Not by assignment: a scope may be called `__proto__`.
    scopes: Object.fromEntries(scopes),
  };
  const body = JSON.stringify(fields, null, 2).slice(0, -'\n}'.length);
  return `${body},\n  "checksum": "${checksum(body)}"\n}\n`;
}

/** @throws TidegateError STATE_CORRUPT saying what is wrong, STATE_NEWER. */
export function decodeDocument(bytes: Buffer): ReadDocument {
  const raw = parseObject(bytes);
  if (raw['tidegate'] !== KIND) throw corrupt('it is not a state file of Tidegate');
  const { schema, id, revision, journals, savedAt, lost, scopes } = raw;
  const major = isRecord(schema) ? schema['major'] : undefined;
  checkMajor(major);
  if (typeof id !== 'string' || !isInstant(savedAt) || !isRevision(revision) || !isRecord(scopes)) {
    throw corrupt('id, revision, savedAt or scopes is missing or of the wrong type');
  }
  const parsed = Object.entries(scopes).map(([name, scope]): [string, ScopeState] => [
    name,
    parseScopeState(scope, major),
  ]);
  return {
    id,
    revision,
    journalsSince: journalsSinceOf(journals, revision),
    savedAt,
    lost: lost === null || lost === undefined ? null : parseStateLoss(lost),
    scopes: new Map(parsed),
    others: Object.fromEntries(Object.entries(raw).filter(([name]) => !KNOWN.has(name))),
    altered: !hasItsChecksum(bytes),
  };
}

/** Null, too, in what an older version wrote. */
function journalsSinceOf(journals: unknown, revision: number): number | null {
  if (!isRecord(journals) || journals['revision'] !== revision) return null;
  const { since } = journals;
  if (!isRevision(since)) throw corrupt('journals.since is not a revision');
  return since;
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  if (bytes.length === 0) throw corrupt('it is empty');
  try {
    const raw: unknown = JSON.parse(bytes.toString('utf8'));
    if (isRecord(raw)) return raw;
  } catch (error) {
    throw corrupt('it is not JSON', error);
  }
  throw corrupt('it is not an object');
}

function hasItsChecksum(bytes: Buffer): boolean {
  const split = Math.max(0, bytes.length - TRAILER_BYTES);
  const trailer = TRAILER.exec(bytes.toString('latin1', split));
  return trailer !== null && trailer[1] === checksum(bytes.subarray(0, split));
}

/** CRC-32 as eight hexadecimal digits: against accidents, not against people. */
export function checksum(content: string | Uint8Array): string {
  return crc32(content).toString(16).padStart(8, '0');
}

function corrupt(message: string, cause?: unknown): TidegateError {
  return new TidegateError('STATE_CORRUPT', message, { cause });
}
