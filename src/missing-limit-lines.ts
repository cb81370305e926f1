import { formatCount, formatDuration } from './config/format.js';
import { isOfSomeModels } from './governor/attribution.js';
import type { MissingLimit } from './governor/missing-limits.js';
import type { ScopeView } from './governor/scope-view.js';
import { oneLine } from './one-line.js';

/** So many of a scope have a line; the others are counted. */
const NAMED = 4;

/** Limits that the upstream refused for and nobody has told of: a line each, with the entry for whoever copies it. */
export function describeMissing({
  scope,
  missing,
}: Pick<ScopeView, 'scope' | 'missing'>): string[] {
  const lines = missing.slice(0, NAMED).map((each) => describe(scope, each));
  const more = missing.length - lines.length;
  return more > 0 ? [...lines, `limit missing: ${scope} has ${more} more, see /status`] : lines;
}

function describe(scope: string, missing: MissingLimit): string {
  const { name, model, granted, windowMs, refusals } = missing;
  const times = refusals === 1 ? 'once' : `${refusals} times`;
  const of = model === '' ? '' : ` of ${oneLine(model)}`;
  const length = windowMs === null ? '' : ` in ${formatDuration(windowMs)}`;
  const amount = granted === null ? '' : `, ${formatCount(granted)}${length}`;
  const entry = entryFor(missing);
  const add = entry === null ? '' : `: ${entry}`;
  return `limit missing: ${scope} was refused ${times} for ${oneLine(name)}${of}${amount}, which no entry of \`limits\` is about${add}`;
}

/** As it stands in the file, in YAML's short form; null where the upstream does not say enough. */
function entryFor({ name, unit, windowMs, model }: MissingLimit): string | null {
  if (windowMs === null) return null;
  const isOwn = unit !== null || isOfSomeModels(name);
  const models = isOwn && model !== '' ? `, models: [${JSON.stringify(model.toLowerCase())}]` : '';
  const window = formatDuration(windowMs);
  if (unit === null) return `- { name: ${JSON.stringify(name)}, window: ${window}${models} }`;
  const own = model === '' ? name : `${model.toLowerCase()}/${name}`;
  return `- { name: ${JSON.stringify(own)}, unit: ${unit}, kind: bucket, window: ${window}${models} }`;
}
