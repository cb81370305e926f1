import { limit, SECOND, success, Town } from './support.js';
import { BYTES_PER_TOKEN } from '../support/replay.js';
import type { TracedRequest } from '../support/traffic.js';

/** The estimate of a request, made before the call, and what it cost in the end, in tokens. */
export interface TracedEstimate {
  readonly estimated: number;
  readonly actual: number;
}

const LARGER_THAN_ANY_TRACE = 1e15;

/**
 * A trace through the governor in its own time: what pauses do to the prompt cache is a part of what a
 * request costs. Each session begins `apartMs` after the one before it; `null` is after that one's end.
 */
export async function estimateInTraceTime(
  trace: readonly TracedRequest[],
  apartMs: number | null,
): Promise<TracedEstimate[]> {
  const town = await Town.open({ limits: [limit({ budget: LARGER_THAN_ANY_TRACE })] });
  const estimates: TracedEstimate[] = [];
  const startOf = sessionStarts(trace, apartMs);
  const begin = async (traced: TracedRequest): Promise<void> => {
    const { session, model, input, cacheRead, output, seconds } = traced;
    const bodyBytes = Math.round((input + cacheRead) * BYTES_PER_TOKEN);
    const admission = await town.admit({ session, model, bodyBytes });
    const { inputTokens, outputTokens } = admission.estimate;
    estimates.push({ estimated: inputTokens + outputTokens, actual: input + output });
    town.time.after(seconds * SECOND, () => {
      const usage = { cachedTokens: cacheRead, outputTokens: output };
      town.governor.settle(admission, { ...success(input), ...usage });
    });
  };
  const ordered = trace
    .map((traced) => ({ traced, atMs: (startOf.get(traced.session) ?? 0) + traced.t * SECOND }))
    .toSorted((a, b) => a.atMs - b.atMs);
  for (const { traced, atMs } of ordered) {
    await town.pass(Math.max(0, atMs - town.time.monotonic()));
    await begin(traced);
  }
  await town.stop();
  return estimates;
}

/** When each session begins, in ms. */
function sessionStarts(
  trace: readonly TracedRequest[],
  apartMs: number | null,
): ReadonlyMap<string, number> {
  const starts = new Map<string, number>();
  let next = 0;
  for (const [session, requests] of Map.groupBy(trace, (traced) => traced.session)) {
    starts.set(session, next);
    const lengthMs = Math.max(...requests.map(({ t, seconds }) => (t + seconds) * SECOND));
    next += apartMs ?? lengthMs + SECOND;
  }
  return starts;
}

/** Errors as shares: of the median request, of the ninth of ten, and of the sum with its sign. */
export function errorsOf(estimates: readonly TracedEstimate[]) {
  const errors = estimates.map(({ estimated, actual }) => Math.abs(estimated - actual) / actual);
  errors.sort((a, b) => a - b);
  const sumOf = (key: keyof TracedEstimate) =>
    estimates.reduce((sum, estimate) => sum + estimate[key], 0);
  return {
    median: errors[Math.floor(errors.length * 0.5)] ?? Number.NaN,
    p90: errors[Math.floor(errors.length * 0.9)] ?? Number.NaN,
    sum: sumOf('estimated') / sumOf('actual') - 1,
  };
}
