import type { DataPlane } from './data-plane.js';
import { type BlockedPool, blockedPools } from './governor/blocked-pools.js';
import type { ScopeView } from './governor/scope-view.js';
import { rfc3339 } from './platform/clock.js';
import type { Instant } from './state/scope-state.js';

/** Pools that the line of a scope names; the others are counted. */
const NAMED_POOLS = 3;

/** What is needed to say how things stand; the data plane has it. */
export type Reported = Pick<DataPlane, 'config' | 'repository' | 'phase'> & {
  readonly governor: Pick<DataPlane['governor'], 'scopes' | 'view'>;
};

/** How things stand, for people: who is blocked comes first. */
export interface Standing {
  /** What is true of the whole instance. */
  readonly notes: readonly string[];
  /** A line a scope; none if nothing is known of them. */
  readonly scopes: readonly ScopeLine[];
}

interface ScopeLine {
  readonly line: string;
  /** Nothing in it is held back. */
  readonly open: boolean;
}

export async function standingOf(plane: Reported): Promise<Standing> {
  const { config, repository, governor, phase } = plane;
  if (!repository.health().healthy) return onlyThat('the state cannot be written');
  let views: ScopeView[];
  try {
    views = await Promise.all(governor.scopes.map((scope) => governor.view(scope)));
  } catch {
    return onlyThat('the state cannot be read');
  }
  const lines = views.map(lineOf);
  return {
    notes: [
      ...(PHASES[phase] ?? []),
      ...(views.some(({ starts }) => starts.crashLoop) ? ['crash loop'] : []),
      ...(config.mode === 'observe' ? ['observe: nothing is refused'] : []),
    ],
    scopes: [...lines.filter(({ open }) => !open), ...lines.filter(({ open }) => open)],
  };
}

/** What each phase but the usual one means for whoever asks now. */
const PHASES: Readonly<Partial<Record<Reported['phase'], readonly string[]>>> = {
  starting: ['starting: requests wait until the start is on record'],
  draining: ['draining: nothing new is taken, what runs may end'],
};

function onlyThat(problem: string): Standing {
  return { notes: [`${problem}: nothing is forwarded`], scopes: [] };
}

function lineOf(view: ScopeView): ScopeLine {
  const { scope, state, cautious } = view;
  const pools = blockedPools(view);
  const caution = cautious && {
    state: 'cautious',
    because: cautious.reason,
    until: cautious.until,
  };
  const own = state === 'cautious' && caution !== null ? [] : [conditionOf(view)];
  const line = `${scope}: ${[...own, ...(caution === null ? [] : [worded(caution)])].join(', ')}`;
  if (pools.length === 0) return { line, open: state === 'open' };
  const named = pools.slice(0, NAMED_POOLS).map(describePool);
  const more = pools.length - named.length;
  if (more > 0) named.push(`${more} more`);
  return {
    line: `${line}, ${state === 'open' ? 'but not' : 'and'} ${named.join(', ')}`,
    open: false,
  };
}

function describePool(pool: BlockedPool): string {
  const models = pool.models.map(oneLine).join(' ');
  const limit = pool.limit === null ? '' : ` (${pool.limit})`;
  return `${models}${limit}: ${worded({ ...pool, until: pool.blockedUntil })}`;
}

function conditionOf({ state, cooldown, blockedUntil }: ScopeView): string {
  const because = state === 'open' ? null : (cooldown?.kind ?? null);
  return worded({ state, because, until: blockedUntil });
}

interface Condition {
  readonly state: string;
  readonly because: string | null;
  readonly until: Instant | null;
}

function worded({ state, because, until }: Condition): string {
  const why = because === null || because === state ? '' : ` (${because})`;
  return `${state}${why}${until === null ? '' : ` until ${rfc3339(until)}`}`;
}

/** An agent chose the model's name: no line break of its may begin an assignment to the service manager. */
function oneLine(model: string): string {
  return model.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
