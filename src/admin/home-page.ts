import type { SteadyClock } from '../platform/clock.js';
import { rfc3339 } from '../platform/clock.js';
import type { ScopeCondition } from '../governor/scope-view.js';
import { type Reported, standingOf } from '../standing.js';

const PATHS = `GET  /status                what is known of every scope
GET  /events                what happened
GET  /explain/<request id>  why Tidegate refused a request
GET  /metrics               for Prometheus
GET  /health/ready          also /health/live, /health/startup, /health/upstream
POST /cooldown/clear        ends the scope's cooldown; a learned budget stays
POST /budget/reset          takes back what was learned about its limits`;

const WHAT_TO_DO: Readonly<Record<Exclude<ScopeCondition, 'open'>, string>> = {
  cooldown: 'wait; if you know that the upstream accepts again: POST /cooldown/clear',
  'half-open': 'wait some seconds: one request finds out whether the upstream accepts again',
  exhausted: 'wait, or raise the budget; if it was learned wrongly: POST /budget/reset',
  terminal: 'pay, or raise the cap at the provider; then POST /cooldown/clear',
  cautious: 'budgets are at their floor; the log of the start says what happened to the state',
};

/** How things stand, in plain text, and where there is more. */
export async function homePage(
  plane: Reported & { readonly clock: Pick<SteadyClock, 'now'> },
  version: string,
): Promise<string> {
  const { notes, scopes } = await standingOf(plane);
  const lines = [...notes, ...scopes.map(({ line }) => line)];
  const states = new Set(scopes.flatMap((scope) => scope.states));
  const hints = Object.entries(WHAT_TO_DO)
    .filter(([state]) => states.has(state as ScopeCondition))
    .map(([state, hint]) => `${state}: ${hint}`);
  const several =
    scopes.length > 1 ? `\n     …?scope=NAME           which scope the POSTs are for` : '';
  const head = `Tidegate ${version}, instance ${plane.config.instance}, at ${rfc3339(plane.clock.now())}`;
  return `${[head, lines.join('\n'), hints.join('\n'), PATHS + several].filter((part) => part !== '').join('\n\n')}\n`;
}
