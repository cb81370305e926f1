import type { SteadyClock } from '../platform/clock.js';
import { rfc3339 } from '../platform/clock.js';
import { type Reported, standingOf } from '../standing.js';

const PATHS = `GET  /status                what is known of every scope
GET  /events                what happened
GET  /explain/<request id>  why Tidegate refused a request
GET  /metrics               for Prometheus
GET  /health/ready          also /health/live, /health/startup, /health/upstream
POST /cooldown/clear        ends the scope's cooldown; a learned budget stays
POST /budget/reset          takes back what was learned about its limits`;

/** How things stand, in plain text, and where there is more. */
export async function homePage(
  plane: Reported & { readonly clock: Pick<SteadyClock, 'now'> },
  version: string,
): Promise<string> {
  const { notes, scopes, missing, hints } = await standingOf(plane);
  const lines = [...notes, ...scopes.map(({ line }) => line)];
  const several =
    scopes.length > 1 ? `\n     …?scope=NAME           which scope the POSTs are for` : '';
  const head = `Tidegate ${version}, instance ${plane.config.instance}, at ${rfc3339(plane.clock.now())}`;
  return `${[head, lines.join('\n'), missing.join('\n'), hints.join('\n'), PATHS + several].filter((part) => part !== '').join('\n\n')}\n`;
}
