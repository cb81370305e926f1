import { describe, expect, it } from 'vitest';
import { readAccessLog } from '../../src/simulate/access-lines.js';
import { bucketBound } from '../../src/simulate/bucket-bound.js';
import { inferLimit } from '../../src/simulate/inferred-limit.js';
import { requestsOf } from '../../src/simulate/logged-demand.js';
import { replay } from '../../src/simulate/replay.js';
import { formatReplay } from '../../src/simulate/replay-report.js';
import { BUCKET_LIMIT, busyBucket, line, twoWindows } from './access-logs.js';

const HOUR = 3_600_000;
const UPSTREAM = { kind: 'fixed', windowMs: 5 * HOUR } as const;
const at = (seconds: number) => `2026-11-26T10:00:${String(seconds).padStart(2, '0')}.000Z`;

function attempts(...lines: readonly string[]) {
  return readAccessLog(lines, null).attempts;
}

describe('an access log', () => {
  it('is read line by line; what is none of its lines is told, and left out', () => {
    const log = readAccessLog(
      [
        line(),
        'no json',
        '[1]',
        line({ at: 'yesterday' }),
        line({ bodyBytes: -1 }),
        line({ inputTokens: 'many' }),
        line({ decision: 'maybe' }),
        '',
        line({ scope: 'b' }),
      ],
      'a',
    );
    expect(log.attempts).toHaveLength(1);
    expect(log.scopes).toEqual(['a', 'b']);
    expect(log.bad).toEqual([
      { line: 2, message: 'is no JSON' },
      { line: 3, message: 'is no object' },
      { line: 4, message: 'has no RFC 3339 instant in "at"' },
      { line: 5, message: 'has no number in "bodyBytes"' },
      { line: 6, message: 'has neither number nor null in "inputTokens"' },
      { line: 7, message: 'has a "decision" that is not known' },
    ]);
  });

  it('is bounded: of a flood of bad lines some are told and all counted, and too many requests are cut', () => {
    const bad = readAccessLog(
      Array.from({ length: 500 }, () => '?'),
      null,
    );
    expect(bad.bad).toHaveLength(20);
    expect(bad.badLines).toBe(500);
    const cut = readAccessLog([line(), line(), line()], null, 2);
    expect(cut).toMatchObject({ cutAt: 3, attempts: { length: 2 } });
  });

  it('has retries of one request as lines of their own, which are put together', () => {
    const refused = { status: 429, inputTokens: null, outputTokens: null, retryAfterMs: 1_000 };
    const requests = requestsOf(
      attempts(
        // In the order in which exchanges end.
        line({ requestId: 'b', at: at(20), bodyBytes: 9 }),
        line({ requestId: 'a1', at: at(10), ...refused, upstreamStatus: 429 }),
        line({
          requestId: 'a2',
          at: at(30),
          ...refused,
          upstreamStatus: null,
          decision: 'probing',
        }),
        line({ requestId: 'a3', at: at(40) }),
        line({ requestId: 'a4', at: at(50) }),
      ),
    );
    expect(requests).toMatchObject([
      {
        requestId: 'a1',
        answered: true,
        waitedMs: 30_000,
        refusedHere: 1,
        upstream429: [{ requestId: 'a1' }],
      },
      { requestId: 'b', answered: true, waitedMs: 0 },
      { requestId: 'a4', answered: true, waitedMs: 0, upstream429: [] },
    ]);
  });
});

describe('the limit that a log tells of', () => {
  it('is what the window had been charged at the first refusal of each cooldown', () => {
    const { lines } = twoWindows();
    const inferred = inferLimit(attempts(...lines), UPSTREAM);
    expect(inferred).toMatchObject({ limit: 100_000, taken: 99_000, unexplained: 0 });
    expect(inferred.samples).toHaveLength(2);
  });

  it('is not inferred from a rate, nor from an empty window', () => {
    const refused = { upstreamStatus: 429, status: 429, inputTokens: null, outputTokens: null };
    const empty = attempts(line({ ...refused, retryAfterMs: 8_000_000 }));
    expect(inferLimit(empty, UPSTREAM)).toMatchObject({ limit: null, unexplained: 1 });
    const rate = attempts(
      line(),
      line({ ...refused, at: '2026-11-26T10:00:00Z', retryAfterMs: 5_000 }),
    );
    expect(inferLimit(rate, UPSTREAM)).toMatchObject({ limit: null, unexplained: 1 });
  });

  it('of a sliding window counts what its length holds', () => {
    const refused = { upstreamStatus: 429, status: 429, inputTokens: null, outputTokens: null };
    const day = (hour: number) => `2026-11-26T${String(hour).padStart(2, '0')}:00:00Z`;
    const log = attempts(
      line({ at: day(1) }),
      line({ at: day(5), bodyBytes: 1 }),
      line({ at: day(6), bodyBytes: 2 }),
      line({ at: day(7), bodyBytes: 3, ...refused, retryAfterMs: HOUR }),
    );
    expect(inferLimit(log, { ...UPSTREAM, kind: 'sliding' }).limit).toBe(2_000);
  });
});

describe('a log of a token bucket', () => {
  const BUCKET = { kind: 'bucket', windowMs: 60_000 } as const;
  const log = attempts(...busyBucket());

  it('tells the limit by what the bucket took, to within a request', () => {
    const { limit, taken, samples, unexplained } = inferLimit(log, BUCKET);
    expect(unexplained).toBe(0);
    expect(samples.length).toBeGreaterThan(50);
    for (const figure of [limit, taken, samples[0]?.tokens, samples.at(-1)?.tokens]) {
      expect(Math.abs((figure ?? 0) - BUCKET_LIMIT)).toBeLessThan(1_000);
    }
  });

  it('tells of the time since the bucket was full, and of 120 lengths at most', () => {
    const minute = 60_000;
    const steady = (from: number, to: number, tokens: number) =>
      Array.from({ length: to - from }, (_, index) => ({ at: (from + index) * minute, tokens }));
    const fallen = [...steady(0, 20, 12_000), ...steady(20, 25, 6_000)];
    const bound = (fullAt: number | null) => bucketBound(fallen, minute, fullAt, 25 * minute);
    expect(bound(20 * minute)).toBe(6_000);
    expect(bound(null)).toBeGreaterThan(10_000);
    // So soon after a refusal what is in flight is more than what is known.
    expect(bound(24.5 * minute)).toBe(bound(null));
    expect(bucketBound(steady(0, 1, 12_000), minute, null, 121 * minute)).toBe(0);
  });

  it('tells nothing as a window’s, whatever its length', () => {
    // The charge of a minute is up to twice what a bucket grants in it.
    const { samples } = inferLimit(log, { kind: 'sliding', windowMs: 60_000 });
    expect(Math.max(...samples.map(({ tokens }) => tokens))).toBeGreaterThan(1.1 * BUCKET_LIMIT);
  });

  it('is replayed against one: a budget below it avoids nearly all of what it refused', async () => {
    const setting = (budget: number) => ({ budget, windowMs: null, kind: null });
    const replayed = await replay(log, {
      upstream: { ...BUCKET, limit: null },
      settings: [
        { name: 'below', setting: setting(11_000) },
        { name: 'above', setting: setting(15_000) },
      ],
    });
    const [below, above] = replayed!.settings;
    expect(replayed!.logged.upstream429).toBeGreaterThan(100);
    expect(below!.upstream429).toBeLessThan(3);
    expect(above!.upstream429).toBeGreaterThan(below!.upstream429);
    expect(below!.utilisation).toBeGreaterThan(0.8);
  });
});

describe('a replay', () => {
  const { lines, refused } = twoWindows();

  async function result(settings: Parameters<typeof replay>[1]['settings']) {
    const replayed = await replay(attempts(...lines), {
      upstream: { ...UPSTREAM, limit: null },
      settings,
    });
    if (replayed === null) throw new Error('no limit');
    return replayed;
  }

  it('tells which setting avoids which 429: a budget below the limit all, one above it the second', async () => {
    const setting = (budget: number | null) => ({ budget, windowMs: null, kind: null });
    const replayed = await result([
      { name: 'below', setting: setting(97_000) },
      { name: 'above', setting: setting(150_000) },
      { name: 'learn', setting: setting(null) },
    ]);
    expect(replayed.logged).toMatchObject({ upstream429: 2 });
    expect(replayed.logged.notAvoided.map(({ requestId }) => requestId)).toEqual(refused);
    const [below, above, learn] = replayed.settings;
    expect(below).toMatchObject({ avoided: { length: 2 } });
    // The controller's own try, when nothing had been refused for a window.
    expect(below?.upstream429).toBeLessThanOrEqual(1);
    for (const row of [above, learn]) {
      expect(row?.upstream429).toBeGreaterThanOrEqual(1);
      expect(row?.avoided.map(({ requestId }) => requestId)).toContain(refused[1]);
    }
    expect(below?.utilisation).toBeGreaterThan(0.9);
  });

  it('is repeated exactly', async () => {
    expect(await result([])).toEqual(await result([]));
  });

  it('is shown with what cannot be known', async () => {
    const text = formatReplay(await result([]), false);
    expect(text).toMatch(/limit: 100_000 tokens a window, inferred/);
    expect(text).toMatch(/budget 97000 +1 +2 +1/);
    expect(text).toMatch(new RegExp(`${refused[0]}  avoided by: .*budget 97000`));
    expect(text).toContain('were never answered');
  });

  it('of a log without a refusal needs to be told the limit', async () => {
    const settings: [] = [];
    const calm = attempts(line());
    expect(await replay(calm, { upstream: { ...UPSTREAM, limit: null }, settings })).toBeNull();
    const told = await replay(calm, { upstream: { ...UPSTREAM, limit: 5_000 }, settings });
    expect(told?.settings[0]).toMatchObject({ upstream429: 0, avoided: [], notAvoided: [] });
  });
});
