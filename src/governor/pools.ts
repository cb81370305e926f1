import type { EpisodeTicket, Gate, Role } from '../backoff/backoff-policy.js';
import { binds } from '../budget/model-pools.js';
import type { LimitRules } from '../budget/settings.js';
import { BOUNDS, type PendingSample, type PoolState } from '../state/scope-state.js';
import { isOfSomeModels, ruleFor, type LimitStatement, type StatedLimit } from './attribution.js';
import type { Draft } from './draft.js';
import type { Policies } from './policies.js';

/**
 * Model pools: parts of a scope that the upstream refuses apart from the rest. A configured limit with
 * `models` is one; so is a model that was refused for a window of its own which is not configured
 * (`7d_opus`). Each has a ladder of its own, beside the scope's.
 *
 * A request passes the scope's gate and those of its pools, and its grant has a ticket for each. A pool is
 * in the state from its first refusal; its entry stays when its episode is over, so that the verdicts on
 * requests that began before that change nothing.
 */

/** `limit:` or `model:` and a name. */
export type PoolKey = string;

const NO_EPISODE: PoolState = { episode: 0, cooldown: null, probes: [], sample: null };

const LIMIT = 'limit:';
const MODEL = 'model:';

export function limitPool(name: string): PoolKey {
  return `${LIMIT}${name}`;
}

function modelPool(model: string): PoolKey {
  return `${MODEL}${model.toLowerCase()}`;
}

/** The limit's name, or the model's. */
export function poolName(pool: PoolKey): string {
  return pool.slice(pool.indexOf(':') + 1);
}

/** The model that is a pool of its own, or null for a limit's. */
export function modelOf(pool: PoolKey): string | null {
  return pool.startsWith(MODEL) ? poolName(pool) : null;
}

export function poolOf({ hot }: Draft, pool: PoolKey): PoolState {
  return hot.pools[pool] ?? NO_EPISODE;
}

export function setPool(draft: Draft, pool: PoolKey, state: PoolState): void {
  if (poolOf(draft, pool) === state) return;
  draft.setHot({ pools: { ...draft.hot.pools, [pool]: state } });
}

/** Changes every pool that is in the state. */
export function mapPools(draft: Draft, change: (pool: PoolState) => PoolState): void {
  for (const pool of Object.keys(draft.hot.pools)) {
    setPool(draft, pool, change(poolOf(draft, pool)));
  }
}

/** The pools in the state whose gates a request of `model` has to pass; one of unknown model may be of any. */
function poolsFor({ hot, rules }: Draft, model: string): readonly PoolKey[] {
  const own = modelPool(model);
  return Object.keys(hot.pools).filter((pool) => {
    if (modelOf(pool) !== null) return model === '' || pool === own;
    return rules.some(
      (rule) => rule.models !== null && limitPool(rule.name) === pool && binds(rule, model),
    );
  });
}

export interface PoolGate {
  readonly pool: PoolKey;
  readonly gate: Gate;
}

export function poolGates(draft: Draft, policies: Policies, model: string): readonly PoolGate[] {
  return poolsFor(draft, model).map((pool) => ({
    pool,
    gate: policies.backoff.poolGate(poolOf(draft, pool), draft.now),
  }));
}

export type PoolTickets = Readonly<Record<PoolKey, EpisodeTicket>>;

/** What the admission noted of the pool; of one that had never been refused, nothing. */
export function ticketFor(pools: PoolTickets, pool: PoolKey, role: Role): EpisodeTicket {
  return pools[pool] ?? { episode: 0, rung: 0, role: roleBeside(role) };
}

/** The scope's probe is none of a pool's; a look that decides nothing decides nothing there either. */
export function roleBeside(role: Role): Role {
  return role === 'probe' ? 'ordinary' : role;
}

/**
 * The pool that a refusal is about, if it says so: then the rest of the scope goes on. Null: the scope's.
 * `rules` are the limits that the refused request was charged to.
 */
export function refusedPool(
  named: readonly StatedLimit[],
  statements: readonly LimitStatement[],
  rules: readonly LimitRules[],
  model: string,
): PoolKey | null {
  const found = named.map((stated) => ({ stated, rule: ruleFor(stated, statements, rules) }));
  // What is refused for a limit of all models as well is refused for all.
  if (!found.every(({ stated, rule }) => isOfSome(stated, rule))) return null;
  const limit = found.find(({ rule }) => rule !== null)?.rule;
  if (limit) return limitPool(limit.name);
  return found.length === 0 || model === '' ? null : modelPool(model);
}

function isOfSome(stated: StatedLimit, rule: LimitRules | null): boolean {
  return rule === null ? isOfSomeModels(stated.name) : rule.models !== null;
}

/**
 * Makes room for the pool, if it is a new one, by one whose episode is over. False: all of them hold requests back, a
 * cooldown that waits for its probe included, and the refusal is the scope's.
 */
export function makeRoom(draft: Draft, pool: PoolKey): boolean {
  const { pools } = draft.hot;
  if (Object.hasOwn(pools, pool) || Object.keys(pools).length < BOUNDS.pools) return true;
  const over = Object.keys(pools).find((key) => pools[key]?.cooldown === null);
  if (over === undefined) return false;
  const { [over]: _, ...others } = pools;
  draft.setHot({ pools: others });
  return true;
}

/** With nothing in flight no verdict can come late any more. */
export function forgetIdlePools(draft: Draft): void {
  const kept = Object.entries(draft.hot.pools).filter(
    ([, { cooldown, sample }]) => cooldown !== null || sample !== null,
  );
  if (kept.length === Object.keys(draft.hot.pools).length) return;
  draft.setHot({ pools: Object.fromEntries(kept) });
}

/** Where a sample is kept until it closes: with the ladder of its episode. Null: the scope's. */
export type Ladder = PoolKey | null;

export function laddersOf({ hot }: Draft): readonly Ladder[] {
  return [null, ...Object.keys(hot.pools)];
}

export function sampleOf(draft: Draft, ladder: Ladder): PendingSample | null {
  return ladder === null ? draft.hot.pendingSample : poolOf(draft, ladder).sample;
}

export function setSample(draft: Draft, ladder: Ladder, sample: PendingSample | null): void {
  if (ladder === null) draft.setHot({ pendingSample: sample });
  else if (sampleOf(draft, ladder) !== sample) {
    setPool(draft, ladder, { ...poolOf(draft, ladder), sample });
  }
}

/** Changes every sample that waits to be closed. */
export function mapSamples(draft: Draft, change: (sample: PendingSample) => PendingSample): void {
  for (const ladder of laddersOf(draft)) {
    const sample = sampleOf(draft, ladder);
    if (sample !== null) setSample(draft, ladder, change(sample));
  }
}
