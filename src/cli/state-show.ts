import { boundsOf } from '../budget/bounds.js';
import { effectiveBudget, headersLead } from '../budget/limits.js';
import type { StoreConfig } from '../config/config.js';
import { formatCount } from '../config/format.js';
import { storeName } from '../config/state-store.js';
import { rfc3339 } from '../platform/clock.js';
import type { FoundState } from '../state/held-state.js';
import type {
  BudgetSource,
  Cooldown,
  Instant,
  InstanceState,
  LimitState,
  ScopeState,
} from '../state/scope-state.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { EXIT } from './exit-codes.js';
import { inspectExisting, LOSSES, readStore } from './store-argument.js';

export const run: Run = async (args, terminal) => {
  const { options, words } = readArguments(args, { json: { type: 'boolean' } }, 1);
  const store = readStore(words[0], terminal);
  const found = await inspectExisting(store);
  terminal.out(options.json === true ? asJson(store, found) : describe(store, found));
  return EXIT.ok;
};

function asJson(store: StoreConfig, { stored, loss }: FoundState): string {
  const { id, revision, savedAt, lost, scopes } = stored;
  const data = { store: storeName(store), loss, id, revision, savedAt, lost };
  const budgets = [...scopes].map(([name, state]) => [name, budgetsOf(state)] as const);
  const all = { ...data, scopes: Object.fromEntries(scopes), budgets: Object.fromEntries(budgets) };
  return `${JSON.stringify(all, null, 2)}\n`;
}

/** What admission measures a limit against. The document has its parts: stored, stated, what was lost. */
interface CountingBudget {
  /** Null: none yet. */
  readonly current: number | null;
  /** `floor`: the state was lost, and nothing else counts until the upstream has been heard. */
  readonly source: BudgetSource | 'floor';
  readonly from: string;
}

function budgetsOf(state: ScopeState): Readonly<Record<string, CountingBudget>> {
  const limits = Object.entries(state.hot.limits);
  return Object.fromEntries(
    limits.map(([name, limit]) => [name, countingBudget(name, limit, state)]),
  );
}

function countingBudget(
  name: string,
  limit: LimitState,
  { hot, cold }: ScopeState,
): CountingBudget {
  const loss = hot.cautious ?? hot.lost;
  const { budget, stated } = limit;
  const current = effectiveBudget(limit, loss !== null);
  const own = `${budget.source}${budget.current === null ? '' : ` ${count(budget.current)}`}`;
  if (loss !== null && current !== null && current === boundsOf(budget).floor) {
    return { current, source: 'floor', from: `floor while cautious (${loss.reason}); else ${own}` };
  }
  if (headersLead(limit)) {
    const as = stated?.name ? ` as ${stated.name}` : '';
    const instead = budget.current === null ? '' : `, below the own one: ${own}`;
    return { current, source: 'headers', from: `stated by the upstream${as}${instead}` };
  }
  const { source, learned, reference } = budget;
  if (source === 'learned') {
    const { samples } = cold.calibration;
    const sample = samples.findLast(({ limit: of, accepted }) => accepted && of === name);
    const at = sample === undefined ? '' : `, refused ${rfc3339(sample.at)}`;
    return { current, source, from: `learned: limit ${count(learned ?? 0)}${at}` };
  }
  const moved = current !== reference && reference !== null ? ` ${count(reference)}, moved` : '';
  return { current, source, from: `${source}${moved}` };
}

function describe(store: StoreConfig, { stored, loss, recordedAt }: FoundState): string {
  const saved = recordedAt === null ? 'never written' : `last written ${rfc3339(recordedAt)}`;
  // Of what can't be read the id is one that a start would give it.
  const isRead = loss === null || recordedAt !== null;
  const lines = [
    row(0, 'store', storeName(store)),
    row(0, 'id', isRead ? `${stored.id}, revision ${stored.revision}, ${saved}` : 'not known'),
    ...(loss === null ? [] : [row(0, 'damage', LOSSES[loss])]),
    ...[...stored.scopes].flatMap(([name, state]) => describeScope(name, state)),
    ...(stored.scopes.size === 0 ? [row(0, 'scopes', 'none yet')] : []),
  ];
  return `${lines.join('\n')}\n`;
}

const VALUE_COLUMN = 14;

function row(depth: number, label: string, value: string): string {
  return `${'  '.repeat(depth)}${label}`.padEnd(VALUE_COLUMN) + value;
}

function describeScope(name: string, state: ScopeState): string[] {
  const { hot, cold } = state;
  const budgets = budgetsOf(state);
  const { accepted, discarded } = cold.calibration;
  const { admitted, refused, upstream429 } = hot.counters;
  const caution = hot.cautious ?? hot.lost;
  return [
    row(0, 'scope', name),
    ...Object.entries(hot.limits).flatMap(([limit, state]) => [
      row(1, limit, describeLimit(state, budgets[limit]!)),
      row(2, 'budget', budgets[limit]!.from),
    ]),
    ...describeCooldown(hot.backoff.cooldown, ''),
    ...Object.entries(hot.pools).flatMap(([pool, { cooldown }]) =>
      describeCooldown(cooldown, ` of ${pool}`),
    ),
    ...(caution === null ? [] : [row(1, 'cautious', `reason ${caution.reason}`)]),
    row(1, 'samples', `${accepted} accepted, ${discarded} discarded`),
    row(
      1,
      'requests',
      `${formatCount(admitted)} admitted, ${formatCount(refused)} refused here, ${formatCount(upstream429)} by the upstream`,
    ),
    ...Object.entries(hot.instances).map(([instance, state]) =>
      row(1, 'instance', `${instance}: ${describeInstance(state)}`),
    ),
  ];
}

function describeCooldown(cooldown: Cooldown | null, of: string): string[] {
  if (cooldown === null) return [];
  const { kind, until: end, rung } = cooldown;
  return [row(1, 'cooldown', `${kind}${of} until ${rfc3339(end)}, rung ${rung}`)];
}

function describeLimit(limit: LimitState, { current, source }: CountingBudget): string {
  const { used, unsettled, orphaned, window, bucket } = limit;
  const inFlight = Object.values(unsettled).reduce((sum, part) => sum + part, 0);
  const of = current === null ? ', no budget yet' : ` of ${count(current)} (${source})`;
  return `${count(used)} used${of}, ${count(inFlight)} of it in flight, ${count(orphaned)} orphaned; ${bucket === null ? until(window.endsAt) : `a bucket, at ${rfc3339(bucket.at)}`}`;
}

function until(endsAt: Instant | null): string {
  return endsAt === null ? 'no window is open' : `window until ${rfc3339(endsAt)}`;
}

function count(amount: number): string {
  return formatCount(Math.round(amount));
}

function describeInstance({ startedAt, seenAt, stoppedAt, inFlight }: InstanceState): string {
  if (stoppedAt !== null) return `stopped cleanly ${rfc3339(stoppedAt)}`;
  return `started ${rfc3339(startedAt)}, last seen ${rfc3339(seenAt)}, ${inFlight} in flight`;
}
