import type { Explanation } from '../admin/explanation.js';
import { formatDuration } from '../config/format.js';
import type { ControlPlane } from './control-client.js';

/** What to do about a refusal: only what helps there, with commands that can be pasted as they are. */
export function remedyOf(explanation: Explanation, plane: ControlPlane): string {
  const { decision, scope } = explanation;
  const clear = post(plane, '/cooldown/clear', scope);
  switch (decision) {
    case 'cooldown':
      return `${waitForProbe(explanation)}\nIf you know that the upstream accepts again: ${clear}`;
    case 'terminal':
      return `pay, or raise the spend cap at the provider: waiting does not cure it. Then\n${clear}`;
    case 'probing':
      return 'nothing: the next second tells. "tidegate events --follow" shows it.';
    case 'overload':
      return 'nothing: wait for the upstream. Its status page may say more.';
    case 'budget':
      return budgetRemedy(explanation, post(plane, '/budget/reset', scope));
    case 'state':
      return 'look at /health/ready and the log: disk, rights, database. Service goes on by itself.';
    default:
      return 'look at the log.';
  }
}

function waitForProbe({ cooldown }: Explanation): string {
  const everyMs = cooldown?.triedEveryMs ?? null;
  const before = everyMs === null ? '' : `, and every ${formatDuration(everyMs)} before`;
  return `wait; Tidegate lets one request through when the cooldown ends${before}.`;
}

function budgetRemedy({ limits, limit: blamed, cautious }: Explanation, reset: string): string {
  if (cautious !== null) {
    return `wait: caution ends with the first limit header of the upstream, at the latest at ${cautious.until}.`;
  }
  const budget = limits.find(({ name }) => name === blamed)?.budget;
  // What the upstream states is neither the operator's to raise nor learned wrongly.
  if (budget === undefined || budget.source === 'headers') return 'wait for room.';
  // A higher configured budget would change nothing: what was learned lies below it.
  if (budget.source === 'learned') {
    return `wait for room.\nWhat was learned wrongly is taken back by: ${reset}`;
  }
  const raise =
    "raise TIDEGATE_BUDGET (in the file, the limit's budget) if the upstream allows more";
  return `wait for room${budget.configured === null ? '' : `, or ${raise}`}.`;
}

/** For a shell: quoted, for a query begins with what some take for a pattern of file names. */
function post({ url, token }: ControlPlane, path: string, scope: string | null): string {
  const query = scope === null ? '' : `?scope=${encodeURIComponent(scope)}`;
  const bearer = token === null ? '' : ' -H "Authorization: Bearer $TIDEGATE_ADMIN_TOKEN"';
  return `curl -X POST${bearer} '${url}${path}${query}'`;
}
