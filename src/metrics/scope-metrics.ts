import type { DiscardReason } from '../calibration/sample.js';
import type { ScopeCondition, ScopeView } from '../governor/scope-view.js';
import type { CooldownKind, Counters } from '../state/scope-state.js';
import { inSeconds, membersOf, type Metric, type Series, stateSet } from './metric.js';

const CONDITIONS = membersOf<ScopeCondition>({
  open: true,
  cooldown: true,
  'half-open': true,
  exhausted: true,
  terminal: true,
  cautious: true,
});

const KINDS = membersOf<CooldownKind | 'overload'>({
  quota: true,
  rate: true,
  acceleration: true,
  terminal: true,
  transient: true,
  unknown: true,
  overload: true,
});

const ACCEPTED = 'accepted';
/** For a reason that another version wrote into the state. */
const OTHER = 'other';

const SAMPLE_OUTCOMES = membersOf<DiscardReason | typeof ACCEPTED | typeof OTHER>({
  accepted: true,
  'zero-tokens': true,
  'state-lost': true,
  orphaned: true,
  'same-episode': true,
  unattributed: true,
  'other-limit': true,
  'other-window': true,
  'below-floor': true,
  unconfirmed: true,
  'operator-reset': true,
  rate: true,
  acceleration: true,
  other: true,
});

/** How each scope stands: what `GET /status` tells, from the same view of the state. */
export const SCOPE_METRICS: readonly Metric[] = [
  {
    ...ofScopes('gauge', ['state'], ({ scope, state }) =>
      stateSet('state', CONDITIONS, state, { scope }),
    ),
    name: 'tidegate_scope_state',
    help: '1 for the state that the scope is in, as in /status, 0 for the others',
  },
  {
    ...ofScopes('gauge', [], (view) => figure(view, inSeconds(view.blockedUntil ?? 0))),
    name: 'tidegate_scope_blocked_until_timestamp_seconds',
    help: 'When metered requests may pass again, as far as it is known, in Unix time; 0 if nothing blocks them',
  },
  {
    ...ofScopes('gauge', [], (view) => figure(view, cooldownLeft(view))),
    name: 'tidegate_scope_cooldown_left_seconds',
    help: 'What is left of the cooldown or the pause for overload; 0 without one, and while it is probed',
  },
  {
    ...ofScopes('gauge', ['kind'], ({ scope, cooldown }) =>
      stateSet('kind', KINDS, cooldown?.kind ?? null, { scope }),
    ),
    name: 'tidegate_scope_cooldown',
    help: '1 for the kind of refusal that the cooldown is due to, 0 for the others',
  },
  {
    ...ofScopes('gauge', [], (view) => figure(view, view.cooldown?.consecutive ?? 0)),
    name: 'tidegate_scope_rung',
    help: 'Rung of the cooldown on the ladder, from 1; 0 without a cooldown',
  },
  {
    ...ofScopes('counter', [], (view) => figure(view, view.episode)),
    name: 'tidegate_scope_episodes_total',
    help: 'Episodes: runs of cooldowns, each from a first 429 to the next success',
  },
  {
    ...ofScopes('gauge', [], (view) => figure(view, view.cautious === null ? 0 : 1)),
    name: 'tidegate_scope_cautious',
    help: '1 while the scope is cautious because its state was lost or restored',
  },
  {
    ...ofScopes('counter', ['outcome'], ({ scope, calibration: { accepted, discarded } }) => [
      { labels: { scope, outcome: ACCEPTED }, value: accepted },
      { labels: { scope, outcome: 'discarded' }, value: discarded },
    ]),
    name: 'tidegate_scope_samples_total',
    help: 'Samples of upstream limits, accepted and discarded',
  },
  {
    ...ofScopes('gauge', ['outcome'], keptSamples),
    name: 'tidegate_scope_samples_kept',
    help: 'Samples on record (the last 50) by the reason they were discarded for, or accepted',
  },
  {
    ...ofScopes('gauge', [], (view) => figure(view, view.calibration.belowFloorInARow)),
    name: 'tidegate_scope_samples_below_floor',
    help: 'Samples in a row that lay below the floor of the budget; 3 contradict the configured budget',
  },
  ofCounter(
    'upstreamRequests',
    'tidegate_scope_upstream_requests_total',
    'Metered requests that reached the upstream',
  ),
  ofCounter(
    'upstream429',
    'tidegate_scope_upstream_429_total',
    'Metered requests that the upstream refused with 429',
  ),
  ofCounter(
    'upstreamOverloaded',
    'tidegate_scope_upstream_overloaded_total',
    'Metered requests that the upstream had no capacity for (529, 503, or in its stream)',
  ),
];

/** What the metrics of scopes have in common; `scope` is their first label. */
function ofScopes<Type extends 'counter' | 'gauge'>(
  type: Type,
  labels: readonly string[],
  readScope: (view: ScopeView) => readonly Series<number>[],
) {
  return {
    type,
    labels: ['scope', ...labels],
    origin: 'state' as const,
    read: ({ views }: { readonly views: readonly ScopeView[] }) => views.flatMap(readScope),
  };
}

function ofCounter(counter: keyof Counters, name: string, help: string): Metric {
  return { ...ofScopes('counter', [], (view) => figure(view, view.counters[counter])), name, help };
}

function figure({ scope }: ScopeView, value: number): Series<number>[] {
  return [{ labels: { scope }, value }];
}

function cooldownLeft({ cooldown, now }: ScopeView): number {
  return cooldown === null ? 0 : inSeconds(Math.max(0, cooldown.until - now));
}

function keptSamples({ scope, calibration }: ScopeView): Series<number>[] {
  const kept = new Map<string, number>(SAMPLE_OUTCOMES.map((outcome) => [outcome, 0]));
  for (const { accepted, reason } of calibration.samples) {
    const outcome = accepted ? ACCEPTED : (reason ?? OTHER);
    const known = kept.has(outcome) ? outcome : OTHER;
    kept.set(known, (kept.get(known) ?? 0) + 1);
  }
  return [...kept].map(([outcome, value]) => ({ labels: { scope, outcome }, value }));
}
