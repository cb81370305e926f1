/** Every fault Tidegate reports by code; docs/reference/errors.md has a row for each. */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'STATE_UNAVAILABLE'
  | 'STATE_UNKNOWN'
  | 'STATE_CLOSED'
  | 'STATE_LOCKED'
  | 'STATE_CORRUPT'
  | 'STATE_NEWER';

/** The one error class. `hint` tells the operator what to do about it. */
export class TidegateError extends Error {
  readonly hint: string | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: { readonly hint?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'TidegateError';
    this.hint = options.hint;
  }
}

/** What an error says, whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The same with where it happened, for whoever mends it. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** The `code` of a system error (`ENOSPC`), or an empty string. */
export function errorCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}

export function hasCode(error: unknown, code: ErrorCode): error is TidegateError {
  return error instanceof TidegateError && error.code === code;
}
