import { Document, isMap, isScalar, isSeq, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml';
import { SINGLE_KEYS } from '../config/upstreams.js';
import { BOUNDS } from '../state/scope-state.js';
import type { ImportedLimit } from './provider-limits.js';

/** Imported limits as YAML, and their way into a file that is there: its comments and all else stay. */

export type Merged =
  | { readonly ok: true; readonly text: string; readonly notes: readonly string[] }
  | { readonly ok: false; readonly message: string; readonly hint: string };

/** What the API's limits are: refilled continuously (wire facts §1.3). */
const KIND = 'bucket';
/** Where the text of a document would be broken otherwise. */
const FORMAT = { lineWidth: 0, flowCollectionPadding: false } as const;

/** The entries, to paste in an upstream. */
export function formatLimits(limits: readonly ImportedLimit[]): string {
  const document = new Document({ limits: [] });
  const list = document.get('limits') as YAMLSeq;
  for (const limit of limits) list.add(entryOf(document, limit));
  return document.toString(FORMAT);
}

/** Puts the limits into `text`, in the upstream called `name`, or the only one. */
export function mergeLimits(
  text: string,
  limits: readonly ImportedLimit[],
  name: string | null,
): Merged {
  const document = parseDocument(text, { keepSourceTokens: false });
  if (document.errors.length > 0) {
    return refusal('the file is not valid YAML', 'see what "tidegate check-config" says of it');
  }
  const target = findTarget(document, name);
  if ('message' in target) return { ok: false, ...target };
  const { upstream } = target;
  const existing = upstream.get('limits');
  if (existing !== undefined && !isSeq(existing)) {
    return refusal('"limits" in the file is not a list', 'make it one, or take it out');
  }
  const list = isSeq(existing) ? existing : (document.createNode([]) as YAMLSeq);
  if (!isSeq(existing)) upstream.set('limits', list);
  const notes = limits.flatMap((limit) => mergeLimit(document, list, limit));
  if (list.items.length > BOUNDS.limits) {
    return refusal(
      `with these the upstream would have ${list.items.length} limits, and ${BOUNDS.limits} is the most`,
      'choose with --model NAME: only the limits of that model are taken',
    );
  }
  return { ok: true, text: document.toString(FORMAT), notes };
}

function refusal(message: string, hint: string): Merged {
  return { ok: false, message, hint };
}

type Target = { readonly upstream: YAMLMap } | { readonly message: string; readonly hint: string };

function findTarget(document: Document, name: string | null): Target {
  if (document.contents === null) document.contents = document.createNode({}) as YAMLMap;
  const root = document.contents;
  if (!isMap(root)) {
    return { message: 'the file holds no settings', hint: 'begin with "upstreams:"' };
  }
  const upstreams = root.get('upstreams');
  if (upstreams === undefined) return newUpstream(document, root, name);
  const maps = isSeq(upstreams) ? upstreams.items.filter((item) => isMap(item)) : [];
  const named = maps.filter((map) => name === null || textOf(map.get('name')) === name);
  const [only, ...others] = named;
  if (only === undefined) {
    return { message: `there is no upstream "${name ?? ''}" in the file`, hint: 'see --upstream' };
  }
  if (others.length > 0) {
    const names = maps.map((map) => textOf(map.get('name')) ?? 'one without a name').join(', ');
    return {
      message: `the file has ${maps.length} upstreams`,
      hint: `say which with --upstream: ${names}`,
    };
  }
  return { upstream: only };
}

function newUpstream(document: Document, root: YAMLMap, name: string | null): Target {
  const plain = SINGLE_KEYS.filter((key) => root.has(key));
  if (plain.length > 0) {
    return {
      message: `limits are part of an upstream, and the file has ${plain.join(', ')} at its top`,
      hint: 'move them into an entry of "upstreams", as docs/reference/configuration.md shows, and run this again',
    };
  }
  const entry = { name: name ?? 'anthropic', url: 'https://api.anthropic.com' };
  const list = document.createNode([entry]) as YAMLSeq;
  root.set('upstreams', list);
  return { upstream: list.items[0] as YAMLMap };
}

function mergeLimit(document: Document, list: YAMLSeq, limit: ImportedLimit): readonly string[] {
  const known = list.items.find((item) => isMap(item) && textOf(item.get('name')) === limit.name);
  if (!isMap(known)) {
    list.add(entryOf(document, limit));
    return [`${limit.name}: new, ${limit.budget}`];
  }
  const notes: string[] = [];
  const before = textOf(known.get('budget'));
  const own = before === null ? Number.NaN : Number(before.replaceAll('_', ''));
  if (own < limit.budget) {
    notes.push(
      `${limit.name}: keeps its budget ${own}, tighter than the provider's ${limit.budget}`,
    );
  } else if (own !== limit.budget) {
    known.set('budget', limit.budget);
    notes.push(
      `${limit.name}: its budget is ${limit.budget} now, and was ${before ?? 'not given'}`,
    );
  }
  const models = known.get('models');
  const listed = isSeq(models) ? models.items.map(textOf) : [textOf(models)];
  if (listed.join() !== limit.models.join()) {
    known.set('models', document.createNode([...limit.models], { flow: true }));
    notes.push(`${limit.name}: its models are those of the provider now`);
  }
  return notes;
}

function entryOf(document: Document, limit: ImportedLimit): YAMLMap {
  const { name, unit, window, budget, models, group } = limit;
  const entry = document.createNode({ name, unit, kind: KIND, window, budget }) as YAMLMap;
  entry.set('models', document.createNode([...models], { flow: true }));
  entry.commentBefore = ` ${group}`;
  return entry;
}

function textOf(node: unknown): string | null {
  const value = isScalar(node) ? node.value : node;
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}
