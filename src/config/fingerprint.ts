import { createHmac } from 'node:crypto';

/**
 * Hexadecimal digits of a fingerprint: 64 bits tell a few thousand keys apart and give none away.
 */
const FINGERPRINT_DIGITS = 16;

/**
 * Names a credential without holding it: the first 16 hexadecimal digits of
 * HMAC-SHA256(fingerprintKey, credential). Without the key it can't be checked against a guess.
 */
export function fingerprint(fingerprintKey: string, credential: string): string {
  const hash = createHmac('sha256', fingerprintKey).update(credential, 'utf8').digest('hex');
  return hash.slice(0, FINGERPRINT_DIGITS);
}

/** Where Anthropic, Azure and Gemini have their keys. */
export const KEY_HEADERS: readonly string[] = ['x-api-key', 'api-key', 'x-goog-api-key'];

/**
 * The credential of a request: a key in the header that its API has for one, else the token of
 * `Authorization: Bearer`. Null if it has neither. `header` looks up a value by lower-case name.
 */
export function credentialOf(header: (name: string) => string | undefined): string | null {
  for (const name of KEY_HEADERS) {
    const key = header(name)?.trim();
    if (key !== undefined && key !== '') return key;
  }
  return bearerToken(header('authorization') ?? '');
}

/** The token of an `Authorization` value; null if the scheme is not Bearer. */
export function bearerToken(authorization: string): string | null {
  return /^bearer +(\S+)\s*$/i.exec(authorization)?.[1] ?? null;
}
