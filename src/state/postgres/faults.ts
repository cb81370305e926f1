import { hasCode, TidegateError } from '../../platform/tidegate-error.js';

/** The five letters by which Postgres names an error; empty where it was not Postgres that spoke. */
export function sqlState(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  // Each has a digit; system errors (EPIPE) have none.
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : '';
}

/** A deadline of ours passed; the connection is of no use any more. */
export class NoAnswer extends Error {
  constructor(ms: number) {
    super(`no answer for ${ms} ms`);
  }
}

/** Another attempt at once may succeed: only the moment was wrong. */
export function isPassing(error: unknown): boolean {
  return PASSING.has(sqlState(error));
}

const PASSING = new Set([
  // serialization_failure, deadlock_detected
  '40001',
  '40P01',
  // unique_violation: another replica was the first to write this scope.
  '23505',
]);

/** The connection is gone; a pooled one may have been dead for long. */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof TidegateError || error instanceof NoAnswer) return false;
  const state = sqlState(error);
  return state === '' || state.startsWith('08') || state.startsWith('57P') || state === '25P03';
}

/** undefined_table: a new database, or one that was emptied. */
export function isMissingTable(error: unknown): boolean {
  return sqlState(error) === '42P01';
}

/** invalid_sql_statement_name, duplicate_prepared_statement: found out before anything is executed. */
export function isNameUnknownOrTaken(error: unknown): boolean {
  return ['26000', '42P05'].includes(sqlState(error));
}

/**
 * Whether the server's answer to what commits rules out that it happened: data, integrity,
 * read-only, rollback (but not 40003, statement_completion_unknown), syntax and rights, locks,
 * cancelled. The end of a session says nothing, and errors of disk, memory and internals may be the
 * last words of a server that crashes after all.
 */
export function isCertainFailure(error: unknown): boolean {
  return /^(22|23|25006|40(?!003)|42|55|57014)/.test(sqlState(error));
}

/** What commits was sent, and it may or may not have happened. */
export class InDoubt extends Error {
  constructor(readonly reason: unknown) {
    super('the outcome of a commit is not known');
  }
}

const TRUST = 'name the authority that issued its certificate: sslrootcert=/path/ca.pem in its URL';

/** What an operator can do, by SQLSTATE or system error. */
const REMEDIES: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'renew the certificate of the database',
  DEPTH_ZERO_SELF_SIGNED_CERT: TRUST,
  ENOENT: 'correct the path of that file in TIDEGATE_STATE',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'reach it by a name that its certificate has, or give it one with the name in TIDEGATE_STATE',
  NO_TLS: 'turn TLS on at the database, or take sslmode out of TIDEGATE_STATE',
  SELF_SIGNED_CERT_IN_CHAIN: TRUST,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: TRUST,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: TRUST,
  ECONNREFUSED: 'start the database, or correct host and port in TIDEGATE_STATE',
  ENOTFOUND: 'correct the host in TIDEGATE_STATE',
  '25006': 'it is read-only: point TIDEGATE_STATE at the primary',
  '28000':
    'correct the user in TIDEGATE_STATE, or pg_hba.conf; if it wants TLS, add sslmode=verify-full',
  '28P01': 'correct user or password in TIDEGATE_STATE',
  '3F000':
    'let search_path of its user (or options=-c search_path=NAME in the URL) name a schema that is there, and that it may use',
  '42P07':
    'its tables are there, and the record of their migrations is not: restore tidegate_migrations, too, or use an empty schema',
  '3D000': 'create the database, or correct its name in TIDEGATE_STATE',
  '42501': 'give its user the rights that docs/guides/postgres.md lists',
  '53100': 'free space on its disk',
  '53300':
    'raise max_connections, or the limit of its user or database; an instance needs up to five',
  '57P03': 'nothing, if it is starting or stopping: Tidegate goes on by itself',
  '55P03': 'something holds the row of a scope: look at pg_stat_activity',
};

/** STATE_UNAVAILABLE, or STATE_CLOSED: it has not happened. */
export function unavailable(error: unknown, url: string): TidegateError {
  if (hasCode(error, 'STATE_UNAVAILABLE') || hasCode(error, 'STATE_CLOSED')) return error;
  return fault('STATE_UNAVAILABLE', `the database at ${addressOf(url)} can't be used`, error);
}

/** Host and port as the URL has them, and nothing else of it. */
function addressOf(url: string): string {
  return URL.canParse(url) ? decodeURIComponent(new URL(url).host) : 'an unreadable address';
}

/** STATE_UNKNOWN: it may have happened. */
export function unknownOutcome(error: unknown): TidegateError {
  return fault('STATE_UNKNOWN', 'the database did not confirm a commit', error);
}

function fault(
  code: 'STATE_UNAVAILABLE' | 'STATE_UNKNOWN',
  what: string,
  cause: unknown,
): TidegateError {
  // A failed connection to a name with several addresses has its reasons inside.
  const reason: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  const message = reason instanceof Error ? reason.message : String(reason);
  // The driver has no code for it.
  const hasNoTls = /does not support SSL/.test(message);
  const name = hasNoTls ? 'NO_TLS' : String((reason as { readonly code?: unknown } | null)?.code);
  const hint = ownHint(reason) ?? REMEDIES[name] ?? 'look at the database and the way to it';
  return new TidegateError(code, `${what} (${message})`, { hint, cause });
}

function ownHint(reason: unknown): string | undefined {
  if (reason instanceof NoAnswer) {
    return 'look whether something holds its tables (pg_stat_activity), and at the way to it';
  }
  return reason instanceof TidegateError ? reason.hint : undefined;
}
