import { describe, expect, it } from 'vitest';
import { costOf } from '../../src/governor/settlement.js';
import { success } from './support.js';

const ESTIMATE = { requests: 1, inputTokens: 50, outputTokens: 400 };

describe('the output that an answer is charged for', () => {
  const charged = (complete: boolean, outputTokens: number | null, relayedOutputTokens: number) =>
    costOf({ ...success(10, complete), outputTokens, relayedOutputTokens }, ESTIMATE).outputTokens;

  it('is what the upstream says at its end, however much was relayed', () => {
    expect(charged(true, 100, 900)).toBe(100);
  });

  it('of one that was cut off is no less than what was relayed, or the upstream had said till then', () => {
    expect(charged(false, 1, 300)).toBe(300);
    expect(charged(false, 500, 300)).toBe(500);
  });

  it('is the estimate where nobody says, or what was relayed if that is more', () => {
    expect(charged(true, null, 900)).toBe(400);
    expect(charged(false, null, 300)).toBe(400);
    expect(charged(false, null, 900)).toBe(900);
  });
});
