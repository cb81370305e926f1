import { expect } from 'vitest';
import type { WireAnswer } from './wire.js';

/** Asserts that Tidegate gave this answer itself, in Anthropic's error envelope. */
export function expectLocalAnswer(answer: WireAnswer, status: number, type: string): void {
  const { headers } = answer;
  const told = answer.body.toString();
  expect(answer.status, told).toBe(status);
  expect(headers.get('content-type')).toBe('application/json');
  const requestId = headers.get('tidegate-request-id');
  expect(requestId).toMatch(/^tg_[0-9a-z]+$/);
  expect(headers.get('request-id')).toBe(requestId);
  expect(JSON.parse(told)).toEqual({
    type: 'error',
    error: { type, message: expect.stringMatching(/\w+/) },
    request_id: requestId,
  });
  expect([...headers.keys()].filter((name) => /ratelimit/.test(name))).toEqual([]);
}

export interface ExpectedRefusal {
  readonly status: number;
  readonly type: string;
  readonly decision: string;
  /** What is to be waited for, in seconds from now. */
  readonly blockedS: readonly [least: number, most: number];
  readonly retryAfterS: readonly [least: number, most: number];
  readonly retry: boolean;
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Everything that docs/reference/http.md promises of a local refusal. */
export function expectRefusal(answer: WireAnswer, expected: ExpectedRefusal): void {
  const { headers } = answer;
  expectLocalAnswer(answer, expected.status, expected.type);
  expect(headers.get('tidegate-decision')).toBe(expected.decision);
  expect(headers.get('x-should-retry')).toBe(String(expected.retry));
  const [least, most] = expected.retryAfterS;
  const retryAfterMs = Number(headers.get('retry-after-ms'));
  expect(headers.get('retry-after')).toMatch(/^\d+$/);
  expect(Number(headers.get('retry-after'))).toBe(Math.ceil(retryAfterMs / 1_000));
  expect(retryAfterMs).toBeGreaterThan(least * 1_000 - 1);
  expect(retryAfterMs).toBeLessThan(most * 1_000 + 1);
  const blockedUntil = headers.get('tidegate-blocked-until') ?? '';
  expect(blockedUntil).toMatch(RFC_3339);
  const blockedS = (Date.parse(blockedUntil) - Date.now()) / 1_000;
  expect(blockedS).toBeGreaterThan(expected.blockedS[0] - 1);
  expect(blockedS).toBeLessThan(expected.blockedS[1] + 1);
  expect(headers.get('cache-control')).toBe('no-store');
}
