import { type Reported, standingOf } from '../standing.js';

const PATHS = `GET  /status                what is known of every scope
GET  /events                what happened
GET  /explain/<request id>  why Tidegate refused a request
GET  /metrics               for Prometheus
GET  /health/ready          also /health/live, /health/startup, /health/upstream
POST /cooldown/clear        ends the scope's cooldown; a learned budget stays
POST /budget/reset          takes back what was learned about its limits`;

/** How things stand, in plain text, and where there is more. */
export async function homePage(plane: Reported, version: string): Promise<string> {
  const { notes, scopes } = await standingOf(plane);
  const lines = [...notes, ...scopes.map(({ line }) => line)];
  return `Tidegate ${version}, instance ${plane.config.instance}\n\n${lines.join('\n')}\n\n${PATHS}\n`;
}
