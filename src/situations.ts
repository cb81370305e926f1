import type { ScopeCondition, ScopeView } from './governor/scope-view.js';

/** What holds requests back, as far as what to do about it differs. */
export type Situation =
  | Exclude<ScopeCondition, 'open'>
  | 'overload'
  | 'exhausted (learned)'
  | 'exhausted (stated)'
  | 'cautious (clock)'
  | 'crash loop'
  | 'no answer'
  | 'unmetered'
  | 'limit missing';

/** For people, in the order of what helps most. */
const WHAT_TO_DO: Readonly<Record<Situation, string>> = {
  'no answer': 'GET /health/upstream asks it now; name, route, TLS, the proxy on the way',
  unmetered: 'set TIDEGATE_DIALECT (in the file, dialect), if that is what the upstream speaks',
  'limit missing':
    'put the entry into `limits` of the file (docs/guides/limits.md): what Tidegate is told of it paces, and else it waits out refusals',
  'crash loop':
    'the journal of the service manager says what ends it: killed, out of memory, a fault; nothing is lost',
  cooldown: 'wait; if you know that the upstream accepts again: POST /cooldown/clear',
  overload: 'nothing; the upstream is out of capacity for everyone, see its status page',
  'half-open': 'wait some seconds: one request finds out whether the upstream accepts again',
  exhausted: 'wait, or raise the budget in the configuration if the upstream allows more',
  'exhausted (learned)':
    'wait: now and then one request finds out whether the upstream takes more; if it was learned wrongly: POST /budget/reset',
  'exhausted (stated)': 'wait: the upstream states that no more is left',
  terminal: 'pay, or raise the cap at the provider; then POST /cooldown/clear',
  cautious:
    'budgets are at their floor; it ends by itself, the log says what happened to the state',
  'cautious (clock)':
    'budgets are at their floor, for the clock went back by more than an hour: set that of the machine (Postgres: of the database) right',
};

/** Where a scope's budget is used up, by where that budget comes from. */
export function exhaustionOf(source: ScopeView['limits'][number]['budget']['source']): Situation {
  if (source === 'learned') return 'exhausted (learned)';
  return source === 'headers' ? 'exhausted (stated)' : 'exhausted';
}

/** What to do, a line for each, and for none twice. */
export function hintsFor(situations: readonly Situation[]): string[] {
  return Object.entries(WHAT_TO_DO)
    .filter(([situation]) => situations.some((each) => each === situation))
    .map(([situation, hint]) => `${situation}: ${hint}`);
}
