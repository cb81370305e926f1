import type { DataPlane } from './data-plane.js';
import { type BlockedPool, blockedPools } from './governor/blocked-pools.js';
import type { ScopeView } from './governor/scope-view.js';
import { rfc3339 } from './platform/clock.js';

/** Pools that the line of a scope names; the others are counted. */
const NAMED_POOLS = 3;

/** What is needed to say how things stand; the data plane has it. */
export type Reported = Pick<DataPlane, 'config' | 'repository'> & {
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

export async function standingOf({ config, repository, governor }: Reported): Promise<Standing> {
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
      ...(views.some(({ starts }) => starts.crashLoop) ? ['crash loop'] : []),
      ...(config.mode === 'observe' ? ['observe: nothing is refused'] : []),
    ],
    scopes: [...lines.filter(({ open }) => !open), ...lines.filter(({ open }) => open)],
  };
}

function onlyThat(problem: string): Standing {
  return { notes: [`${problem}: nothing is forwarded`], scopes: [] };
}

function lineOf(view: ScopeView): ScopeLine {
  const { scope, state, blockedUntil, cooldown } = view;
  const pools = blockedPools(view);
  const because = state === 'open' ? null : (cooldown?.kind ?? null);
  const line = `${scope}: ${condition({ state, because, blockedUntil })}`;
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
  return `${models}${limit}: ${condition(pool)}`;
}

type Condition = Pick<BlockedPool, 'state' | 'because' | 'blockedUntil'>;

function condition({ state, because, blockedUntil }: Condition): string {
  const why = because === null ? '' : ` (${because})`;
  return `${state}${why}${blockedUntil === null ? '' : ` until ${rfc3339(blockedUntil)}`}`;
}

/** An agent chose the model's name: no line break of its may begin an assignment to the service manager. */
function oneLine(model: string): string {
  return model.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
