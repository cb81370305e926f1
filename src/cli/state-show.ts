import type { StoreConfig } from '../config/config.js';
import { formatCount } from '../config/format.js';
import { storeName } from '../config/state-store.js';
import { rfc3339 } from '../platform/clock.js';
import type { FoundState } from '../state/held-state.js';
import type {
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
  return `${JSON.stringify({ ...data, scopes: Object.fromEntries(scopes) }, null, 2)}\n`;
}

function describe(store: StoreConfig, { stored, loss, recordedAt }: FoundState): string {
  const saved = recordedAt === null ? 'never written' : `last written ${rfc3339(recordedAt)}`;
  const lines = [
    row(0, 'store', storeName(store)),
    row(0, 'id', `${stored.id}, revision ${stored.revision}, ${saved}`),
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

function describeScope(name: string, { hot, cold }: ScopeState): string[] {
  const { accepted, discarded } = cold.calibration;
  const { admitted, refused, upstream429 } = hot.counters;
  const caution = hot.cautious ?? hot.lost;
  return [
    row(0, 'scope', name),
    ...Object.entries(hot.limits).map(([limit, state]) => row(1, limit, describeLimit(state))),
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

function describeLimit({ used, unsettled, orphaned, budget, window, bucket }: LimitState): string {
  const inFlight = Object.values(unsettled).reduce((sum, part) => sum + part, 0);
  const of = budget.current === null ? '' : ` of ${count(budget.current)} (${budget.source})`;
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
