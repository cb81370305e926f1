import { formatCount } from './config/format.js';
import type { DialectName } from './dialects/dialect.js';
import type { DataPlane } from './data-plane.js';
import { type BlockedPool, blockedPools } from './governor/blocked-pools.js';
import { describeMissing } from './missing-limit-lines.js';
import { oneLine } from './one-line.js';
import type { LimitView, ScopeCondition, ScopeView } from './governor/scope-view.js';
import { rfc3339 } from './platform/clock.js';
import { TidegateError } from './platform/tidegate-error.js';
import type { Silence } from './proxy/proxy-tally.js';
import { exhaustionOf, hintsFor, type Situation } from './situations.js';
import type { Instant } from './state/scope-state.js';

/** Pools that the line of a scope names; the others are counted. */
const NAMED_POOLS = 3;

/** What is needed to say how things stand; the data plane has it. */
export type Reported = Pick<DataPlane, 'config' | 'repository' | 'phase'> & {
  readonly governor: Pick<DataPlane['governor'], 'scopes' | 'view'>;
  readonly proxy: { readonly tally: Pick<DataPlane['proxy']['tally'], 'silences' | 'missed'> };
};

/** How things stand, for people: who is blocked comes first. */
export interface Standing {
  /** What is true of the whole instance. */
  readonly notes: readonly string[];
  /** A line a scope; none if nothing is known of them. */
  readonly scopes: readonly ScopeLine[];
  /** Limits that nobody has told of, a line each, with the entry of the file that would. */
  readonly missing: readonly string[];
  /** What to do about it, a line each. */
  readonly hints: readonly string[];
}

interface ScopeLine {
  readonly line: string;
  /** Its own, that of caution beside it, and those of its pools. */
  readonly situations: readonly Situation[];
  /** Nothing in it is held back. */
  readonly open: boolean;
}

export async function standingOf(plane: Reported): Promise<Standing> {
  const { config, repository, governor, phase, proxy } = plane;
  const { healthy, problem } = repository.health();
  if (!healthy) return onlyThat('the state cannot be written', problem);
  let views: ScopeView[];
  try {
    views = await Promise.all(governor.scopes.map((scope) => governor.view(scope)));
  } catch (error) {
    return onlyThat('the state cannot be read', problemOf(error));
  }
  const unclean = Math.max(...views.map(({ starts }) => (starts.crashLoop ? starts.unclean : 0)));
  const lines = views.map(lineOf);
  const { silences, missed } = proxy.tally;
  return {
    notes: [
      ...(PHASES[phase] ?? []),
      ...silences.map(describeSilence),
      ...[...missed].map(describeMissed),
      ...(unclean > 0
        ? [`crash loop: ${unclean} unclean starts in two hours, no budget is raised`]
        : []),
      ...(config.mode === 'observe' ? ['observe: nothing is refused'] : []),
    ],
    scopes: [...lines.filter(({ open }) => !open), ...lines.filter(({ open }) => open)],
    missing: views.flatMap(describeMissing),
    hints: hintsFor([
      ...(silences.length > 0 ? (['no answer'] as const) : []),
      ...(missed.size > 0 ? (['unmetered'] as const) : []),
      ...(views.some(({ missing }) => missing.length > 0) ? (['limit missing'] as const) : []),
      ...(unclean > 0 ? (['crash loop'] as const) : []),
      ...lines.flatMap(({ situations }) => situations),
    ]),
  };
}

function describeMissed([upstream, dialect]: readonly [string, DialectName]): string {
  return `unmetered: requests to upstream ${upstream} pass and are not counted; they look like those of dialect ${dialect}`;
}

/** Told although nothing is held back: an open scope of which nobody gets an answer is as good as none. */
function describeSilence({ upstream, requests, since, code }: Silence): string {
  const which = requests === 1 ? 'the last request' : `the last ${requests} requests`;
  return `no answer from upstream ${upstream} to ${which}, since ${rfc3339(since)} (${oneLine(code)})`;
}

/** What each phase but the usual one means for whoever asks now. */
const PHASES: Readonly<Partial<Record<Reported['phase'], readonly string[]>>> = {
  starting: ['starting: requests wait until the start is on record'],
  draining: ['draining: nothing new is taken, what runs may end'],
};

function problemOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const { message } = error;
  const hint = error instanceof TidegateError ? error.hint : undefined;
  return hint === undefined ? message : `${message}: ${hint}`;
}

function onlyThat(what: string, problem: string | null): Standing {
  const why = problem === null ? '' : `: ${oneLine(problem)}`;
  return { notes: [`nothing is forwarded, for ${what}${why}`], scopes: [], missing: [], hints: [] };
}

function lineOf(view: ScopeView): ScopeLine {
  const { scope, state, cautious } = view;
  const pools = blockedPools(view);
  const own = state === 'cautious' && cautious !== null ? [] : [conditionOf(view)];
  if (cautious !== null) own.push(until(`cautious (${cautious.reason})`, cautious.until));
  const line = `${scope}: ${own.join(', ')}`;
  const situations = [...situationsOf(view), ...pools.flatMap((pool) => poolSituation(view, pool))];
  if (pools.length === 0) return { line, situations, open: state === 'open' };
  const named = pools.slice(0, NAMED_POOLS).map(describePool);
  const more = pools.length - named.length;
  if (more > 0) named.push(`${more} more`);
  return {
    line: `${line}, ${state === 'open' ? 'but not' : 'and'} ${named.join(', ')}`,
    situations,
    open: false,
  };
}

function situationsOf(view: ScopeView): Situation[] {
  const { state, cooldown, cautious, limits } = view;
  const situations: Situation[] = [];
  if (state === 'cooldown' && cooldown?.kind === 'overload') situations.push('overload');
  else if (state !== 'open' && state !== 'exhausted' && state !== 'cautious')
    situations.push(state);
  const binding = state === 'exhausted' || outlasts(view) ? bindingLimit(limits) : null;
  if (binding !== null) situations.push(exhaustionOf(binding.budget.source));
  if (cautious !== null) {
    situations.push(cautious.reason === 'clock' ? 'cautious (clock)' : 'cautious');
  }
  return situations;
}

function poolSituation({ limits }: ScopeView, { state, limit: name }: BlockedPool): Situation[] {
  if (state === 'open') return [];
  if (state !== 'exhausted') return [state];
  const source = limits.find((limit) => limit.name === name)?.budget.source ?? 'none';
  return [exhaustionOf(source)];
}

function describePool({ models, limit, state, because, blockedUntil }: BlockedPool): string {
  const named = limit === null ? '' : ` (${limit})`;
  return `${models.map(oneLine).join(' ')}${named}: ${worded(state, because, blockedUntil)}`;
}

function conditionOf(view: ScopeView): string {
  const { state, cooldown, blockedUntil, limits } = view;
  if (state === 'open') return until(state, blockedUntil);
  if (state === 'exhausted') return worded(state, usedUp(limits), blockedUntil);
  if (cooldown !== null && outlasts(view)) {
    const then = worded('exhausted', usedUp(limits), blockedUntil);
    return `${worded(state, cooldown.kind, cooldown.until)}, then ${then}`;
  }
  return worded(state, cooldown?.kind ?? null, blockedUntil);
}

/** A budget is used up, too, and for longer than the cooldown lasts. */
function outlasts({ state, cooldown, blockedUntil }: ScopeView): boolean {
  return state === 'cooldown' && cooldown !== null && (blockedUntil ?? 0) > cooldown.until;
}

/** The limit that binds all requests for longest. */
function bindingLimit(limits: readonly LimitView[]): LimitView | null {
  const [binding = null] = limits
    .filter(({ models, blockedUntil }) => models === null && blockedUntil !== null)
    .sort((a, b) => (b.blockedUntil ?? 0) - (a.blockedUntil ?? 0));
  return binding;
}

/** … with its figures, and where they come from if that is not the configuration. */
function usedUp(limits: readonly LimitView[]): string | null {
  const binding = bindingLimit(limits);
  if (binding === null) return null;
  const { name, used, budget } = binding;
  const of = budget.current === null ? '' : ` of ${formatCount(Math.round(budget.current))}`;
  const from = budget.source === 'headers' ? 'stated' : budget.source;
  const source = ['learned', 'stated'].includes(from) ? ` ${from}` : '';
  return `${name}: ${formatCount(Math.round(used))}${of}${source}`;
}

function worded(state: ScopeCondition, because: string | null, end: Instant | null): string {
  if (state === 'terminal') {
    const again = end === null ? '' : `, tried again at ${rfc3339(end)}`;
    return `terminal (spend cap or no credit)${again}`;
  }
  const why = because === 'unknown' ? 'no reason stated' : because;
  return until(why === null ? state : `${state} (${why})`, end);
}

function until(what: string, end: Instant | null): string {
  return end === null ? what : `${what} until ${rfc3339(end)}`;
}
