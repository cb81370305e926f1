import { formatCount } from './config/format.js';
import type { DataPlane } from './data-plane.js';
import { type BlockedPool, blockedPools } from './governor/blocked-pools.js';
import type { LimitView, ScopeCondition, ScopeView } from './governor/scope-view.js';
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
  /** Its own, that of caution beside it, and those of its pools. */
  readonly states: readonly ScopeCondition[];
  /** Nothing in it is held back. */
  readonly open: boolean;
}

export async function standingOf(plane: Reported): Promise<Standing> {
  const { config, repository, governor, phase } = plane;
  const { healthy, problem } = repository.health();
  if (!healthy) return onlyThat('the state cannot be written', problem);
  let views: ScopeView[];
  try {
    views = await Promise.all(governor.scopes.map((scope) => governor.view(scope)));
  } catch (error) {
    return onlyThat('the state cannot be read', error instanceof Error ? error.message : null);
  }
  const unclean = Math.max(...views.map(({ starts }) => (starts.crashLoop ? starts.unclean : 0)));
  const lines = views.map(lineOf);
  return {
    notes: [
      ...(PHASES[phase] ?? []),
      ...(unclean > 0
        ? [`crash loop: ${unclean} unclean starts in two hours, no budget is raised`]
        : []),
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

function onlyThat(what: string, problem: string | null): Standing {
  const why = problem === null ? '' : `: ${oneLine(problem)}`;
  return { notes: [`nothing is forwarded, for ${what}${why}`], scopes: [] };
}

function lineOf(view: ScopeView): ScopeLine {
  const { scope, state, cautious } = view;
  const pools = blockedPools(view);
  const own = state === 'cautious' && cautious !== null ? [] : [conditionOf(view)];
  if (cautious !== null) own.push(until(`cautious (${cautious.reason})`, cautious.until));
  const line = `${scope}: ${own.join(', ')}`;
  const states = [
    state,
    ...(cautious === null ? [] : (['cautious'] as const)),
    ...pools.map((pool) => pool.state),
  ];
  if (pools.length === 0) return { line, states, open: state === 'open' };
  const named = pools.slice(0, NAMED_POOLS).map(describePool);
  const more = pools.length - named.length;
  if (more > 0) named.push(`${more} more`);
  return {
    line: `${line}, ${state === 'open' ? 'but not' : 'and'} ${named.join(', ')}`,
    states,
    open: false,
  };
}

function describePool({ models, limit, state, because, blockedUntil }: BlockedPool): string {
  const named = limit === null ? '' : ` (${limit})`;
  return `${models.map(oneLine).join(' ')}${named}: ${worded(state, because, blockedUntil)}`;
}

function conditionOf({ state, cooldown, blockedUntil, limits }: ScopeView): string {
  if (state === 'open') return until(state, blockedUntil);
  const because = state === 'exhausted' ? usedUp(limits) : (cooldown?.kind ?? null);
  return worded(state, because, blockedUntil);
}

/** The limit that binds all requests for longest, with its figures. */
function usedUp(limits: readonly LimitView[]): string | null {
  const binding = limits
    .filter(({ models, blockedUntil }) => models === null && blockedUntil !== null)
    .sort((a, b) => (b.blockedUntil ?? 0) - (a.blockedUntil ?? 0))[0];
  if (binding === undefined) return null;
  const { name, used, budget } = binding;
  const of = budget.current === null ? '' : ` of ${formatCount(Math.round(budget.current))}`;
  return `${name}: ${formatCount(Math.round(used))}${of}`;
}

function worded(state: ScopeCondition, because: string | null, end: Instant | null): string {
  if (state === 'terminal') {
    const again = end === null ? '' : `, tried again at ${rfc3339(end)}`;
    return `terminal (spend cap or no credit)${again}`;
  }
  return until(because === null ? state : `${state} (${because})`, end);
}

function until(what: string, end: Instant | null): string {
  return end === null ? what : `${what} until ${rfc3339(end)}`;
}

/** An agent chose the model's name: no line break of its may begin an assignment to the service manager. */
function oneLine(model: string): string {
  return model.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
