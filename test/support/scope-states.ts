import { emptyScopeState, type ScopeState } from '../../src/state/scope-state.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';

/** Counts an admission, and tells the number before it. */
export const increment: Decide<number> = (state) => ({
  state: withSequence(state, state.hot.sequence + 1),
  outcome: state.hot.sequence,
});

export const setSequence =
  (sequence: number): Decide<number> =>
  (state) => ({ state: withSequence(state, sequence), outcome: sequence });

/** Looks, and changes nothing. */
export const look: Decide<ScopeState> = (state) => ({ state, outcome: state });

export function withSequence(state: ScopeState, sequence: number): ScopeState {
  return { ...state, hot: { ...state.hot, sequence } };
}

export async function sequenceOf(repository: StateRepository, scope: string): Promise<number> {
  return (await repository.read(scope)).state.hot.sequence;
}

const AT = 1_763_856_000_123;
/** A record that no clock has caught up with: one that is past needs no more moving. */
const FAR_AHEAD = 4_102_444_800_123;

const SAMPLE = {
  at: AT,
  episode: 2,
  kind: 'quota',
  limit: 'tokens',
  window: 3,
  sequence: 9,
  outstanding: 4,
  tokens: 11_000,
  from: AT,
  weight: 0.5,
  orphaned: 7,
  confirmed: true,
  reason: null,
} as const;

/** A state with something in every place, so that a round trip shows what gets lost. */
export function fullScopeState(): ScopeState {
  const { hot, cold } = emptyScopeState();
  return {
    hot: {
      ...hot,
      limits: {
        tokens: {
          window: {
            number: 3,
            startedAt: AT,
            endsAt: AT + 18_000_000,
            anchored: true,
            stated: true,
            lengthMs: 18_000_000,
            observed: false,
          },
          used: 12_345.5,
          cells: [{ at: AT, amount: 12_345.5, orphaned: 9 }],
          bucket: {
            at: AT,
            carry: 17,
            lowered: 5,
            history: [{ at: AT, amount: 8, low: 3, full: true }],
          },
          unsettled: { 'host-a': 12, __proto__x: 1 },
          orphaned: 7,
          others: 3,
          stated: {
            name: '5h',
            limit: 1e6,
            window: 3,
            sequence: 9,
            fraction: {
              from: 0.01,
              fromCharged: 10,
              fromCounted: 9,
              used: 0.42,
              usedCharged: 12_000,
              budget: 900_000,
            },
          },
          budget: {
            current: 1e6,
            learned: 990_000,
            reference: 1e6,
            found: 980_000,
            source: 'learned',
          },
          control: {
            nudgedAt: AT,
            inTheWay: true,
            denied: { at: AT, amount: 5 },
            probedAt: AT,
            refusedAt: AT,
            fullWindows: 2,
            full: { since: AT, until: AT + 60_000 },
            agreeing: 1,
            accepted: 980_000,
          },
        },
      },
      backoff: {
        episode: 2,
        cooldown: {
          since: AT,
          until: AT + 30_000,
          kind: 'quota',
          rung: 1,
          limit: 'tokens',
          blamed: 'tokens',
          probedAt: null,
        },
        probes: [{ sequence: 9, instance: 'host-a', takenAt: AT, expiresAt: AT + 10_000 }],
        transientAt: AT,
        overload: { number: 1, rung: 2, since: AT, until: AT + 2_000, inAnswer: true },
      },
      pools: {
        'limit:opus': {
          episode: 4,
          cooldown: {
            since: AT,
            until: AT + 60_000,
            kind: 'quota',
            rung: 2,
            limit: 'opus',
            blamed: 'opus',
            probedAt: AT,
          },
          probes: [{ sequence: 8, instance: 'host-a', takenAt: AT, expiresAt: AT + 10_000 }],
          sample: null,
        },
        'model:claude-opus-4-1': { episode: 1, cooldown: null, probes: [], sample: SAMPLE },
      },
      pendingSample: SAMPLE,
      cautious: { since: AT, until: AT + 1, reason: 'restored', allowance: 2 },
      lost: { reason: 'clock', at: AT, recordedAt: FAR_AHEAD },
      setBack: { byMs: 7_200_000, until: FAR_AHEAD },
      instances: {
        'host-a': {
          startedAt: AT,
          seenAt: AT,
          stoppedAt: null,
          inFlight: 4,
          guessed: 2,
          coldTokens: 300,
          turn: { since: AT, until: AT + 1, amounts: { tokens: 4_000 } },
        },
      },
      sequence: 9,
      firstAdmittedAt: AT,
      counters: {
        admitted: 9,
        refused: 1,
        upstreamRequests: 5,
        upstream429: 1,
        upstreamOverloaded: 1,
      },
      ramp: { allowance: 32, at: AT },
      admittedAt: AT,
    },
    cold: {
      ...cold,
      calibration: {
        accepted: 1,
        discarded: 1,
        samples: [
          { at: AT, limit: 'tokens', tokens: 99, accepted: true, reason: null, episode: 1 },
          { at: AT, limit: null, tokens: 0, accepted: false, reason: 'zero tokens', episode: 2 },
        ],
        belowFloorInARow: 1,
      },
      estimates: {
        'model/ü': {
          count: 3,
          usedAt: AT,
          promptTokensPerByte: 0.25,
          outputTokens: 400,
          cachedShare: 0.5,
          cachedShareCount: 2,
          lateCachedShare: 0.25,
          lateCachedShareCount: 1,
          staleCachedShare: 0.125,
          staleCachedShareCount: 3,
          costP99: 9_000,
          excessP99: 800,
        },
      },
      starts: { 'host-a': [{ at: AT, unclean: true }] },
      organizations: { '0123456789abcdef': 'org-1' },
      events: [
        {
          id: AT,
          at: AT,
          kind: 'budget-raised',
          cause: 'scheduled job',
          limit: 'tokens',
          requestId: null,
          instance: 'host-a',
          before: {
            budget: 1e6,
            source: 'learned',
            used: 12_345.5,
            reserved: 13,
            orphaned: 7,
            others: 3,
            windowEndsAt: AT + 18_000_000,
          },
          after: null,
          details: { from: 1e6, to: 1_030_000, note: 'ü', none: null, yes: true },
        },
      ],
      guards: { tokens: { guard: 'little-used', at: AT } },
    },
  };
}
