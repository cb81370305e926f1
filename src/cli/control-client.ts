import type { AdminConfig, ListenAddress } from '../config/config.js';
import { formatAddress } from '../config/format.js';
import { printable } from '../config/problem.js';
import { reasonOf, TidegateError } from '../platform/tidegate-error.js';
import { UsageError } from './arguments.js';

/** Where the control plane of the instance is that a command asks. */
export interface ControlPlane {
  readonly url: string;
  readonly token: string | null;
}

/** Longer than the control plane lets anybody wait. */
const ANSWER_MS = 45_000;

/** @param url As the command line says it; else the configured address, on this machine. */
export function controlPlaneOf(
  { listen, token }: AdminConfig,
  url: string | undefined,
): ControlPlane {
  if (url === undefined) return { url: `http://${formatAddress(reachable(listen))}`, token };
  const { protocol = '', username, password, search, hash } = URL.parse(url) ?? {};
  const isHttp = protocol === 'http:' || protocol === 'https:';
  if (!isHttp || [username, password, search, hash].some((part) => part !== '')) {
    throw new UsageError(
      `--url ${JSON.stringify(printable(url))} is no http or https URL without user and query. ` +
        'A token goes into TIDEGATE_ADMIN_TOKEN.',
    );
  }
  return { url: url.replace(/\/+$/, ''), token };
}

/** A listener on every interface is reached on loopback. */
function reachable({ host, port }: ListenAddress): ListenAddress {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return host === '::' ? { host: '::1', port } : { host, port };
}

export type Asked =
  | { readonly kind: 'answer'; readonly body: unknown }
  | { readonly kind: 'not-found'; readonly message: string }
  /** Nobody answers there. */
  | { readonly kind: 'away'; readonly reason: string };

/**
 * @param key That every answer of this kind has.
 * @throws TidegateError, UsageError if it answers, and not with what was asked for.
 */
export function askControlPlane(
  plane: ControlPlane,
  path: string,
  key: string,
  query: Readonly<Record<string, string | undefined>> = {},
): Promise<Asked> {
  return ask(plane, path, query, (text) => {
    const body = objectIn(text);
    return body !== null && key in body ? body : null;
  });
}

/** The page at `/`, as text. Throws as `askControlPlane` does. */
export function askPage(plane: ControlPlane): Promise<Asked> {
  return ask(plane, '/', {}, (text) => (/^Tidegate \S+, instance /.test(text) ? text : null));
}

async function ask(
  plane: ControlPlane,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  read: (text: string) => unknown,
): Promise<Asked> {
  const { url, token } = plane;
  const target = new URL(`${url}${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) target.searchParams.set(name, value);
  }
  let status: number;
  let text: string;
  try {
    const response = await fetch(target, {
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    return { kind: 'away', reason: whyAway(error) };
  }
  const answer = status === 200 ? read(text) : null;
  if (answer !== null) return { kind: 'answer', body: answer };
  const body = objectIn(text);
  const message = typeof body?.['message'] === 'string' ? body['message'] : null;
  // An error of a server in between may have any shape; all else is told as Nest tells it.
  if (status < 500 && message === null) throw stranger(plane, status);
  if (status === 404) return { kind: 'not-found', message: message ?? '' };
  if (status === 400) throw new UsageError(`${message}.`);
  const told = `${url} answers ${status}${message === null ? '' : `: ${message}`}`;
  if (status === 401 || status === 403) {
    throw new TidegateError('CONFIG_INVALID', told, {
      hint: 'set TIDEGATE_ADMIN_TOKEN to the token of that instance',
    });
  }
  throw new TidegateError('STATE_UNAVAILABLE', told, { hint: 'look at its log, or ask again' });
}

function stranger({ url }: ControlPlane, status: number): TidegateError {
  return new TidegateError(
    'CONFIG_INVALID',
    `what answers at ${url} is no control plane of Tidegate (status ${status})`,
    {
      hint: 'say where it is: TIDEGATE_ADMIN_LISTEN, or --url http://host:port; it is not the port that agents use',
    },
  );
}

export function unreachable({ url }: ControlPlane, reason: string): TidegateError {
  return new TidegateError('STATE_UNAVAILABLE', `no control plane answers at ${url} (${reason})`, {
    hint: 'start it, or say where it is: TIDEGATE_ADMIN_LISTEN, or --url http://host:port',
  });
}

function whyAway(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = (cause as { code?: string } | undefined)?.code;
  return code ?? reasonOf(error);
}

/** Null: it is no object in JSON. */
function objectIn(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
