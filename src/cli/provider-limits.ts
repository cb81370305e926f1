import { LONGEST_NAME, MOST_COUNTED } from '../config/parse.js';
import { MOST_MODELS } from '../config/parse-api.js';
import type { Unit } from '../state/scope-state.js';

/**
 * From the provider's limits API (`GET /v1/organizations/rate_limits`, wire facts §1.3) to limits as the
 * configuration has them. Pure. What Tidegate can't count is left out, and said.
 */

/** A limit of the provider's, as an entry of `limits`. */
export interface ImportedLimit {
  readonly name: string;
  readonly unit: Unit;
  readonly window: '1m' | '1d';
  readonly budget: number;
  readonly models: readonly string[];
  /** The provider's name of the models' group, for people. */
  readonly group: string;
}

export interface ProviderLimits {
  readonly limits: readonly ImportedLimit[];
  /** What was left out, and why. */
  readonly leftOut: readonly string[];
}

/** What is counted, of the provider's types. */
const COUNTED: Readonly<Record<string, Pick<ImportedLimit, 'unit' | 'window'>>> = {
  requests_per_minute: { unit: 'requests', window: '1m' },
  input_tokens_per_minute_cache_aware: { unit: 'input_tokens', window: '1m' },
  output_tokens_per_minute: { unit: 'output_tokens', window: '1m' },
  tokens_per_minute: { unit: 'tokens', window: '1m' },
  tokens_per_day: { unit: 'tokens', window: '1d' },
};

/** Why the others are not. */
const REASONS: Readonly<Record<string, string>> = {
  input_tokens_per_minute: 'it counts what is read from the cache, too, and Tidegate does not',
  fast_itpmca: 'fast requests have a pool of their own, which the model does not tell',
  fast_otpm: 'fast requests have a pool of their own, which the model does not tell',
};

/** Far more than any organization has. */
const MOST_GROUPS = 200;

/**
 * @param groups The API's entries, as they came: anything.
 * @param wanted Only groups with one of these models; empty: all of them.
 */
export function readProviderLimits(
  groups: readonly unknown[],
  wanted: readonly string[],
): ProviderLimits {
  const limits: ImportedLimit[] = [];
  const leftOut: string[] = [];
  for (const raw of groups.slice(0, MOST_GROUPS)) {
    const group = readGroup(raw);
    if (group === null) continue;
    if (group.models.length === 0) {
      leftOut.push(`${group.title}: it is not about models that requests name`);
      continue;
    }
    if (wanted.length > 0 && !group.models.some((model) => wanted.includes(model))) continue;
    const read = readGroupLimits(group, limits);
    limits.push(...read.limits);
    leftOut.push(...read.leftOut);
  }
  return { limits, leftOut };
}

interface Group {
  readonly title: string;
  readonly models: readonly string[];
  readonly limits: readonly { readonly type: string; readonly value: number | null }[];
}

/** The API has had `group_type` at first, and `group: {type, display_name}` later. */
function readGroup(raw: unknown): Group | null {
  const entry = asObject(raw);
  if (entry === null || !Array.isArray(entry['limits'])) return null;
  const group = asObject(entry['group']);
  const kind = asText(group?.['type']) ?? asText(entry['group_type']);
  const names = Array.isArray(entry['models']) ? entry['models'] : [];
  const isOfModels = kind === null || kind === 'model_group';
  const models = isOfModels ? names.filter(isModel) : [];
  const title = asText(group?.['display_name']) ?? sharedName(models) ?? kind ?? 'an entry';
  const limits = entry['limits'].flatMap((item) => {
    const limit = asObject(item);
    const type = asText(limit?.['type']);
    const value = limit?.['value'];
    return type === null ? [] : [{ type, value: typeof value === 'number' ? value : null }];
  });
  return { title: printable(title), models, limits };
}

function readGroupLimits(
  { title, models, limits }: Group,
  before: readonly ImportedLimit[],
): ProviderLimits {
  const pool = poolOf(models);
  const result: ImportedLimit[] = [];
  const leftOut: string[] = [];
  if (pool === null) {
    leftOut.push(`${title}: it has ${models.length} models, and an entry takes ${MOST_MODELS}`);
    return { limits: result, leftOut };
  }
  const slug = freeName(slugOf(title), before);
  for (const { type, value } of limits) {
    const counted = Object.hasOwn(COUNTED, type) ? COUNTED[type] : undefined;
    if (counted === undefined) {
      const reason = Object.hasOwn(REASONS, type) ? REASONS[type] : 'Tidegate does not count it';
      leftOut.push(`${title}, ${printable(type)}: ${reason}`);
    } else if (value === null || !Number.isInteger(value) || value < 1 || value > MOST_COUNTED) {
      leftOut.push(`${title}, ${type}: its value ${value} is no budget`);
    } else {
      const ending = counted.window === '1m' ? counted.unit : `${counted.unit}-${counted.window}`;
      const name = `${slug}/${ending}`;
      result.push({ name, ...counted, budget: value, models: pool, group: title });
    }
  }
  return { limits: result, leftOut };
}

/** Dated names of a model go together with its plain one where there are too many for one entry. */
function poolOf(models: readonly string[]): readonly string[] | null {
  const names = [...new Set(models.map((model) => model.toLowerCase()))];
  if (names.length <= MOST_MODELS) return names;
  const plain = [...new Set(names.map((name) => name.replace(/-20\d{6}$/, '-20*')))];
  return plain.length <= MOST_MODELS ? plain : null;
}

function slugOf(title: string): string {
  const slug = title.toLowerCase().replaceAll(/[^a-z0-9.]+/g, '-');
  const trimmed = slug.replaceAll(/^[-.]+|[-.]+$/g, '');
  // With the longest ending, and a number where two groups have one name.
  return (trimmed === '' ? 'models' : trimmed).slice(0, LONGEST_NAME - 20);
}

function freeName(slug: string, before: readonly ImportedLimit[]): string {
  const taken = (name: string) => before.some((limit) => limit.name.startsWith(`${name}/`));
  if (!taken(slug)) return slug;
  for (let number = 2; ; number += 1) if (!taken(`${slug}-${number}`)) return `${slug}-${number}`;
}

/** What the models' names begin with in common, or the first of them. */
function sharedName(models: readonly string[]): string | null {
  const [first] = models;
  if (first === undefined) return null;
  let shared = first;
  for (const model of models) while (!model.startsWith(shared)) shared = shared.slice(0, -1);
  const whole = shared.replace(/[-.\d]+$/, '');
  return whole.length >= 3 ? whole : first;
}

function isModel(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,100}$/.test(value) && !/[,*]/.test(value);
}

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 100);
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | null {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : null;
}

function asText(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
