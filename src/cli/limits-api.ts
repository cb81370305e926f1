import { HttpService } from '@nestjs/axios';
import axios, { isAxiosError } from 'axios';
import { firstValueFrom } from 'rxjs';
import { EXIT, type ExitCode } from './exit-codes.js';

const PATH = '/v1/organizations/rate_limits';
const TIMEOUT_MS = 20_000;
const MOST_BYTES = 4 * 1024 * 1024;
/** Without a page size the API gives all of it at once. */
const MOST_PAGES = 20;

export type Fetched =
  | { readonly ok: true; readonly groups: readonly unknown[] }
  | {
      readonly ok: false;
      readonly message: string;
      readonly hint: string;
      readonly code: ExitCode;
    };

/** Asks for all groups of limits. The key goes into one header, and into no message. */
export async function fetchGroups(base: URL, key: string): Promise<Fetched> {
  const http = new HttpService(
    axios.create({
      timeout: TIMEOUT_MS,
      maxContentLength: MOST_BYTES,
      // A credential follows no redirect.
      maxRedirects: 0,
      headers: { 'x-api-key': key, 'anthropic-version': '2023-06-01' },
      validateStatus: () => true,
    }),
  );
  const url = new URL(`${base.pathname.replace(/\/$/, '')}${PATH}`, base);
  const groups: unknown[] = [];
  for (let page = 0; page < MOST_PAGES; page += 1) {
    let answer: { readonly status: number; readonly data: unknown };
    try {
      answer = await firstValueFrom(http.get<unknown>(url.href));
    } catch (error) {
      return unreachable(url, error);
    }
    if (answer.status !== 200) return refused(url, answer.status);
    const read = readPage(answer.data);
    if (read === null) return strange(url);
    groups.push(...read.groups);
    if (read.next === null) return { ok: true, groups };
    url.searchParams.set('page', read.next);
  }
  return strange(url);
}

function readPage(data: unknown): { groups: readonly unknown[]; next: string | null } | null {
  if (typeof data !== 'object' || data === null || !('data' in data)) return null;
  if (!Array.isArray(data.data)) return null;
  const next = 'next_page' in data ? data.next_page : null;
  return { groups: data.data, next: typeof next === 'string' && next !== '' ? next : null };
}

function failed(message: string, hint: string, code: ExitCode = EXIT.config): Fetched {
  return { ok: false, message, hint, code };
}

function refused({ host }: URL, status: number): Fetched {
  switch (status) {
    case 401:
      return failed(
        `${host} does not know this key (401)`,
        'give an Admin key that is still valid: it begins with sk-ant-admin',
      );
    case 403:
      return failed(
        `this key may not read the organization's limits (403)`,
        'an ordinary API key is not enough: an admin of the organization makes an Admin key in the console',
      );
    case 404:
      return failed(
        `${host} has no limits API (404)`,
        'check --api; individual accounts have none either, and then limits are learned from headers',
      );
    case 429:
      return failed(`${host} asks to wait (429)`, 'try again in a minute', EXIT.temporary);
    default:
      return status >= 500
        ? failed(`${host} answered ${status}`, 'try again later', EXIT.temporary)
        : failed(
            `${host} answered ${status}`,
            'check --api: it is where the API is, and no redirect is followed',
          );
  }
}

/** Never the error itself: it holds the request, and with it the key. */
function unreachable({ host }: URL, error: unknown): Fetched {
  const cause = isAxiosError(error) ? (error.code ?? 'no answer') : 'no answer';
  return failed(
    `${host} can't be reached (${cause})`,
    'check the network and HTTPS_PROXY, then try again',
    EXIT.temporary,
  );
}

function strange({ host }: URL): Fetched {
  return failed(
    `what ${host} answered is no list of limits`,
    'check --api; if it is right, this version does not know the answer yet',
  );
}
