import type { WindowKind } from '../budget/settings.js';
import { formatDuration } from '../config/format.js';
import type { LoggedAttempt } from './access-lines.js';
import type { RecordedRequest } from './demand.js';
import { inferLimit, type InferredLimit } from './inferred-limit.js';
import { requestsOf, type LoggedRequest } from './logged-demand.js';
import { readWorld } from './read-world.js';
import type { Request } from './strategy.js';
import { simulate } from './simulation.js';
import type { World } from './world.js';

/** How the upstream counts, as far as its owner tells. */
export interface ReplayUpstream {
  readonly kind: WindowKind;
  readonly windowMs: number;
  /** Null: as the log lets us infer it. */
  readonly limit: number | null;
}

/** What Tidegate might be set to; what is null is the upstream's, a budget of null is to be learned. */
export interface ReplaySetting {
  readonly budget: number | null;
  readonly windowMs: number | null;
  readonly kind: WindowKind | null;
}

/** What `tidegate replay --json` prints. Names are a contract. */
export interface ReplayResult {
  readonly limit: number;
  readonly inferred: InferredLimit;
  readonly requests: number;
  /** Refused each time, so nobody knows what they would have cost: by their estimate. */
  readonly neverAnswered: number;
  readonly logged: ReplayRow;
  readonly settings: readonly (ReplayRow & { readonly setting: ReplaySetting })[];
}

export interface ReplayRow {
  readonly name: string;
  readonly upstream429: number;
  /** Of those in the log; empty for the log itself. */
  readonly avoided: readonly Refusal[];
  readonly notAvoided: readonly Refusal[];
  /** Others than those in the log. */
  readonly others: number;
  /** Mean over the upstream's windows that opened; null for the log itself, where it is not known. */
  readonly utilisation: number | null;
  readonly localRefusals: number;
  readonly longestWaitMs: number;
}

export interface Refusal {
  readonly at: number;
  readonly requestId: string;
}

export interface ReplayOptions {
  readonly upstream: ReplayUpstream;
  /** None: those that are worth a try near the limit. */
  readonly settings: readonly { readonly name: string; readonly setting: ReplaySetting }[];
  readonly onProgress?: (done: number, all: number) => void;
}

/** Null: the log holds no refusal that a limit could be inferred from, and none was given. */
export async function replay(
  attempts: readonly LoggedAttempt[],
  { upstream, settings: named, onProgress }: ReplayOptions,
): Promise<ReplayResult | null> {
  const inferred = inferLimit(attempts, upstream);
  const limit = upstream.limit ?? inferred.limit;
  if (limit === null) return null;
  const settings = named.length > 0 ? named : settingsNear(limit);
  const requests = requestsOf(attempts);
  const rows = [];
  for (const [index, { name, setting }] of settings.entries()) {
    rows.push({ ...(await run(requests, { ...upstream, limit }, name, setting)), setting });
    onProgress?.(index + 1, settings.length);
  }
  return {
    limit,
    inferred,
    requests: requests.length,
    neverAnswered: requests.filter(({ answered }) => !answered).length,
    logged: asLogged(requests),
    settings: rows,
  };
}

/** The budgets below the limit, and to learn it. */
function settingsNear(limit: number): ReplayOptions['settings'] {
  const budgets = [1, 0.97, 0.9].map((share) => Math.max(1, Math.floor(share * limit)));
  return [null, ...budgets].map((budget) => ({
    name: budget === null ? 'budget learned' : `budget ${budget}`,
    setting: { budget, windowMs: null, kind: null },
  }));
}

function asLogged(requests: readonly LoggedRequest[]): ReplayRow {
  const refusals = requests.flatMap(({ upstream429 }) => upstream429);
  return {
    name: 'as logged',
    upstream429: refusals.length,
    avoided: [],
    notAvoided: refusals.map(told),
    others: 0,
    utilisation: null,
    localRefusals: requests.reduce((sum, { refusedHere }) => sum + refusedHere, 0),
    longestWaitMs: requests.reduce((longest, { waitedMs }) => Math.max(longest, waitedMs), 0),
  };
}

async function run(
  requests: readonly LoggedRequest[],
  upstream: ReplayUpstream & { readonly limit: number },
  name: string,
  setting: ReplaySetting,
): Promise<ReplayRow> {
  const recorded = recordedOf(requests);
  const indexOf = new Map<Request, number>(recorded.map(({ request }, index) => [request, index]));
  const drawn = new Map<number, number>();
  const world = worldOf(requests, upstream, setting);
  const { windows, totals } = await simulate(world, {
    strategy: 'tidegate',
    recorded,
    onRefusal: (request) => {
      const index = indexOf.get(request) ?? -1;
      drawn.set(index, (drawn.get(index) ?? 0) + 1);
    },
  });
  const avoided: Refusal[] = [];
  const notAvoided: Refusal[] = [];
  for (const [index, { upstream429 }] of requests.entries()) {
    const again = drawn.get(index) ?? 0;
    notAvoided.push(...upstream429.slice(0, again).map(told));
    avoided.push(...upstream429.slice(again).map(told));
  }
  const upstream429 = [...drawn.values()].reduce((sum, count) => sum + count, 0);
  return {
    name,
    upstream429,
    avoided,
    notAvoided,
    others: upstream429 - notAvoided.length,
    utilisation: totals.utilisation,
    localRefusals: windows.reduce((sum, { localRefusals }) => sum + localRefusals, 0),
    longestWaitMs: windows.reduce((most, { longestWaitMs }) => Math.max(most, longestWaitMs), 0),
  };
}

function told({ at, requestId }: LoggedAttempt): Refusal {
  return { at, requestId };
}

/** In a session one request follows another, unless they overlapped in the log. */
function recordedOf(requests: readonly LoggedRequest[]): readonly RecordedRequest[] {
  const startedAt = requests[0]?.at ?? 0;
  const before = new Map<string, number>();
  return requests.map((logged, index) => {
    const { at, session, model, bodyBytes, tokens, durationMs } = logged;
    const key = `${session} ${model}`;
    const previous = session === '' ? undefined : before.get(key);
    before.set(key, index);
    const earlier = previous === undefined ? undefined : requests[previous];
    const follows = earlier !== undefined && endOf(earlier) <= at;
    return {
      atMs: at - startedAt,
      after: follows ? (previous ?? null) : null,
      request: {
        session,
        model,
        bodyBytes,
        inputTokens: tokens.input,
        cachedTokens: tokens.cached,
        outputTokens: tokens.output,
        durationMs: Math.max(1, durationMs),
      },
    };
  });
}

function endOf({ at, waitedMs, durationMs }: LoggedRequest): number {
  return at + waitedMs + durationMs;
}

/** More windows than a log can last, so that the run ends with its last request. */
function worldOf(
  requests: readonly LoggedRequest[],
  { kind, windowMs, limit }: ReplayUpstream & { readonly limit: number },
  { budget, windowMs: ownWindowMs, kind: ownKind }: ReplaySetting,
): World {
  const spanMs = (requests.at(-1)?.at ?? 0) - (requests[0]?.at ?? 0);
  const described = {
    windows: Math.min(100_000, 4 * Math.ceil(spanMs / windowMs) + 8),
    upstream: { kind, window: formatDuration(windowMs), limit: Math.max(10, Math.round(limit)) },
    governor: {
      ...(budget === null ? {} : { budget: Math.round(budget) }),
      ...(ownWindowMs === null ? {} : { window: formatDuration(ownWindowMs) }),
      ...(ownKind === null ? {} : { windowKind: ownKind }),
    },
  };
  const read = readWorld(JSON.stringify(described), 'replay', () => '');
  if (!read.ok) throw new RangeError(read.problems.map(({ message }) => message).join('; '));
  return read.world;
}
