import { describe, expect, it } from 'vitest';
import { useGateway } from '../support/gateway.js';
import { playUpstream, replaySessions, tokensOf } from '../support/replay.js';
import { makeTraffic } from '../support/traffic.js';

const SESSIONS = 12;
const REQUESTS = 10;
const TIME_SCALE = 500;

describe('sessions of a coding agent, side by side', () => {
  const gateway = useGateway({ TIDEGATE_BUDGET: '1000000000' });

  it('are metered to the token, and get every byte in order', { timeout: 60_000 }, async () => {
    const trace = makeTraffic(SESSIONS, REQUESTS, 1);
    gateway.upstream.answer = playUpstream(trace, TIME_SCALE);
    const before = await gateway.settledUse();
    expect(await replaySessions(gateway.tidegate.proxyUrl, trace, TIME_SCALE)).toEqual([]);
    await gateway.charges(before, tokensOf(trace));
    expect(gateway.upstream.seen).toHaveLength(trace.length);
  });
});
