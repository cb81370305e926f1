import type { Explanation } from '../admin/explanation.js';
import { formatCount, formatDuration } from '../config/format.js';
import type { ControlPlane } from './control-client.js';
import { remedyOf } from './explain-remedy.js';

type Limit = Explanation['limits'][number];

/**
 * For whoever is on call, at 3 a.m.: what, why, the figures, until when, what to do.
 *
 * @param plane Who explained it, and takes the orders that may help.
 */
export function explainInWords(explanation: Explanation, plane: ControlPlane): string {
  const { requestId, scope, model, decision, at, limits } = explanation;
  const of = scope === null ? '' : ` Scope ${scope}${model === '' ? '' : `, model ${model}`}.`;
  const figures = limits.flatMap((limit) => describeLimit(limit, explanation));
  const lines = [
    `${requestId} was refused by Tidegate at ${at}: ${decision}.${of}`,
    '',
    ...why(explanation),
    ...(figures.length === 0 ? [] : ['', 'The limits at that moment:', ...figures]),
    '',
    `What to do: ${remedyOf(explanation, plane)}`,
  ];
  return `${lines.join('\n')}\n`;
}

function why(explanation: Explanation): string[] {
  const { decision, blockedUntil, limit, reason, overload } = explanation;
  switch (decision) {
    case 'cooldown':
    case 'terminal':
    case 'probing':
      return [...cooldownSentences(explanation), ...untilWhen(explanation)];
    case 'overload':
      return [
        'The upstream is out of capacity for everyone, which touches no budget.' +
          (overload === null
            ? ''
            : ` It said so last at ${overload.since}, ${times(overload.consecutive)} in a row.`),
        `The pause was to end at ${blockedUntil}.`,
      ];
    case 'budget':
      return [
        budgetSentence(explanation, limit),
        `Room was expected at ${blockedUntil}${meanwhile(explanation)}.`,
      ];
    default:
      return reason === null ? [] : [reason];
  }
}

/** Where several limits are used up, each of them has to be due. */
function meanwhile({ limits, limit: name }: Explanation): string {
  const everyMs = limits.find((limit) => limit.name === name)?.budget.triedEveryMs ?? null;
  return everyMs === null
    ? ''
    : `; every ${formatDuration(everyMs)} until then one request finds out whether the upstream takes more`;
}

function untilWhen({ at, blockedUntil, cooldown, probesOut, ...rest }: Explanation): string[] {
  // Both are written the same way, in UTC.
  if (cooldown !== null && at < cooldown.until) {
    const who = rest.pool === null ? 'Nothing' : `No request of ${rest.pool}`;
    const { triedEveryMs } = cooldown;
    const but =
      triedEveryMs === null
        ? ''
        : `, but for one request every ${formatDuration(triedEveryMs)}, which finds out whether the upstream accepts again`;
    return [`${who} passes before ${blockedUntil}${but}.`];
  }
  const why =
    cooldown === null
      ? heldSentence(rest)
      : `That was over; ${probesOut === 1 ? 'one request was' : `${probesOut} requests were`} finding out whether the upstream accepts again, and this one had to wait for that.`;
  return [why, `It was to come back at ${blockedUntil}.`];
}

function heldSentence({ ramp, limit }: Pick<Explanation, 'ramp' | 'limit'>): string {
  const waited = 'and the request had waited as long as it may';
  if (ramp !== null) {
    return `Admission ramps up after a start, a cooldown or idle time: ${ramp.inFlight} requests were in flight where ${ramp.allowance} may be, ${waited}.`;
  }
  return limit === null
    ? `Admission was held back for a moment, ${waited}.`
    : `What was in flight may have used up limit ${limit} already: its cost was not known yet, ${waited} for that.`;
}

function cooldownSentences({ cooldown, pool }: Explanation): string[] {
  if (cooldown === null) return [];
  const { since, until, kind, limit, episode, consecutive, requestId, statedWaitMs } = cooldown;
  const whom = requestId === null ? 'a request' : `request ${requestId}`;
  const about = limit === null ? '' : `, for limit ${limit}`;
  const asked =
    kind === 'terminal'
      ? 'Waiting does not cure that, so Tidegate only looks again from time to time'
      : statedWaitMs === null
        ? 'It did not say for how long, so the backoff ladder decided'
        : `It asked to wait ${formatDuration(Math.round(statedWaitMs))}`;
  const only = pool === null ? '' : ` It holds back ${pool} only.`;
  return [
    `The upstream had refused ${whom} at ${since} (${kind}${about}).`,
    `${asked}: the cooldown lasts until ${until}. It is number ${consecutive} in a row of episode ${episode}.${only}`,
  ];
}

function budgetSentence({ limits, cautious, promised }: Explanation, name: string | null): string {
  const limit = limits.find((each) => each.name === name);
  if (limit === undefined) {
    return cautious === null
      ? 'The budget was used up.'
      : `State was lost (${cautious.reason}), and only ${cautious.allowance} may be in flight at once until the upstream has been heard.`;
  }
  const floor =
    cautious === null ? '' : ` State was lost (${cautious.reason}), so the budget is at its floor.`;
  const figures = `${amount(limit.used)} of ${amount(limit.budget.current ?? 0)} ${limit.unit}`;
  return promised
    ? `What was left of the budget of limit ${limit.name} was promised to requests that had been refused before: used ${figures}.${floor}`
    : `The budget of limit ${limit.name} was used up: ${figures}, too little left for this request.${floor}`;
}

function describeLimit(limit: Limit, { limit: blamed }: Explanation): string[] {
  const { name, unit, used, reserved, orphaned, others, budget, window } = limit;
  const parts = [
    ...(reserved > 0 ? [`${amount(reserved)} in flight`] : []),
    ...(orphaned > 0 ? [`${amount(orphaned)} orphaned by an instance that died`] : []),
    ...(others > 0 ? [`${amount(others)} spent by others`] : []),
  ];
  const of = budget.current === null ? ', no budget yet' : ` of ${amount(budget.current)}`;
  const among = parts.length === 0 ? '' : `, among it ${parts.join(', ')}`;
  const mark = name === blamed ? '* ' : '  ';
  return [
    `${mark}${name}: used ${amount(used)} ${unit}${of}${among}.`,
    `    ${budgetOrigin(limit)}`,
    `    ${windowSentence(window)}`,
  ];
}

function budgetOrigin({ budget, unit }: Limit): string {
  const { source, configured, learned, sample, moved, floor, ceiling, statedAs } = budget;
  const last =
    moved === null ? '' : ` It was last moved at ${moved.at}: ${moved.message} (${moved.cause}).`;
  switch (source) {
    case 'configured':
      return `The budget comes from the configuration (${amount(configured ?? budget.current ?? 0)}).${last}`;
    case 'learned': {
      const from =
        sample === null
          ? ''
          : `: at ${sample.at} the upstream refused after ${amount(sample.tokens)} ${unit}`;
      const limit = learned === null ? '' : ` Learned limit ${amount(learned)};`;
      const bounds = floor === null ? '' : ` bounds ${amount(floor)} to ${amount(ceiling ?? 0)}.`;
      return `The budget comes from the newest sample${from}.${limit}${bounds}${last}`;
    }
    case 'headers': {
      const stated = moved?.details['stated'];
      const what = typeof stated === 'number' ? ` (a limit of ${amount(stated)})` : '';
      const by = statedAs ? ` of \`${statedAs}\`` : '';
      return `The budget follows the upstream's limit headers${by}${what}.${last}`;
    }
    default:
      return 'Nothing has been learned of this limit yet.';
  }
}

function windowSentence({ kind, lengthMs, startedAt, endsAt, endStated }: Limit['window']): string {
  const length = formatDuration(lengthMs);
  if (startedAt === null || endsAt === null) return `No ${kind} window of ${length} was open.`;
  if (kind !== 'fixed') return `Its window of ${length} is ${kind}: it frees little by little.`;
  const by = endStated ? 'as the upstream states' : `after ${length}`;
  return `Its window began at ${startedAt} and ends at ${endsAt}, ${by}.`;
}

function amount(value: number): string {
  return formatCount(Math.round(value));
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}
