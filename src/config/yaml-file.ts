import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document } from 'yaml';
import type { Findings } from './problem.js';

/** A YAML file as plain texts, lists and maps, each with its place (`tidegate.yaml:12`). */
export type FileNode = FileText | FileList | FileMap;

export interface FileText {
  readonly kind: 'text';
  readonly text: string;
  readonly at: string;
}

export interface FileList {
  readonly kind: 'list';
  readonly items: readonly FileNode[];
  readonly at: string;
}

export interface FileMap {
  readonly kind: 'map';
  /** In the order of the file. `at` is the place of the key. */
  readonly entries: ReadonlyMap<string, { readonly node: FileNode; readonly at: string }>;
  readonly at: string;
}

/** Far more than 64 scopes of 8 limits need; an alias that multiplies itself ends here. */
const MOST_NODES = 20_000;
const DEEPEST = 16;

/**
 * Parses the text of the file called `file`. Null if it has no settings to read: with a problem noted
 * unless it is just empty.
 */
export function readYaml(text: string, file: string, findings: Findings): FileMap | null {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    // All scalars stay texts: a fingerprint of digits alone must not become a number.
    schema: 'failsafe',
    // Offsets are all that is needed of an error.
    prettyErrors: false,
    // Found by the Reader below, which can name the key.
    uniqueKeys: false,
  });
  const faults = [...document.errors, ...document.warnings];
  for (const fault of faults) {
    const { line, col } = lines.linePos(fault.pos[0]);
    findings.problem(
      { name: file, at: `line ${line}, column ${col}` },
      {
        message: `is not valid YAML: ${explain(fault)}`,
        allowed: 'YAML 1.2',
      },
    );
  }
  if (faults.length > 0 || document.contents === null) return null;
  return new Reader(document, lines, file, findings).top();
}

/**
 * By the library's codes. Its own messages quote the file in places, and with it perhaps a token; these
 * say besides what the usual cause is.
 */
const EXPLANATIONS: Readonly<Record<string, string>> = {
  BAD_ALIAS: 'a value that begins with * or & needs quotes',
  BAD_DQ_ESCAPE: 'a backslash between double quotes begins an escape; use single quotes',
  BAD_INDENT: 'the indentation does not fit the lines before',
  BAD_SCALAR_START: 'a value that begins with a special character needs quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a value with ": " in it needs quotes, and a group begins on a line of its own',
  MISSING_CHAR: 'a quotation mark, bracket, comma or colon is missing',
  MULTILINE_IMPLICIT_KEY: 'this line is no "key: value"',
  MULTIPLE_DOCS: 'it holds more than one document',
  TAB_AS_INDENT: 'tabs cannot indent; use spaces',
  TAG_RESOLVE_FAILED: 'tags (!name) have no meaning here; a value that begins with ! needs quotes',
  UNEXPECTED_TOKEN: 'this does not belong here; values with [ ] { } : # in them need quotes',
};

function explain({ code, message }: { readonly code: string; readonly message: string }): string {
  // The library has one code for both.
  if (code === 'BAD_INDENT' && message.startsWith('Flow')) return 'a [ or { before is not closed';
  return EXPLANATIONS[code] ?? 'this is no YAML';
}

class Reader {
  #nodes = 0;

  constructor(
    private readonly document: Document,
    private readonly lines: LineCounter,
    private readonly file: string,
    private readonly findings: Findings,
  ) {}

  top(): FileMap | null {
    const { contents } = this.document;
    const node = this.#read(contents, '', this.file, 0);
    if (node.kind === 'map') return node;
    this.findings.problem(
      { name: this.file, at: null },
      { message: 'holds no settings', allowed: 'lines of "key: value"', example: 'window: 5h' },
    );
    return null;
  }

  #read(node: unknown, path: string, around: string, depth: number): FileNode {
    const at = this.#at(node) ?? around;
    this.#nodes += 1;
    if (depth > DEEPEST || this.#nodes > MOST_NODES) {
      // Once is enough: whatever else is beyond the bound has the same cause.
      if (this.#nodes !== Infinity) {
        this.findings.problem(
          { name: path, at },
          { message: 'is nested too deeply or too large', allowed: `${MOST_NODES} values in all` },
        );
      }
      this.#nodes = Infinity;
      return { kind: 'text', text: '', at };
    }
    if (isAlias(node)) {
      const meant = node.resolve(this.document);
      if (meant !== undefined) return this.#read(meant, path, at, depth + 1);
      const message = 'begins with *, which has a meaning in YAML';
      this.findings.problem({ name: path, at }, { message, allowed: 'such values in quotes' });
      return { kind: 'text', text: '*', at };
    }
    if (isSeq(node)) {
      const items = node.items.map((item, index) =>
        this.#read(item, `${path}[${index}]`, at, depth + 1),
      );
      return { kind: 'list', items, at };
    }
    if (isMap(node))
      return { kind: 'map', entries: this.#entries(node.items, path, at, depth), at };
    // A key without a value has no node; with this schema every other scalar is a text.
    return { kind: 'text', text: isScalar(node) ? String(node.value ?? '') : '', at };
  }

  #entries(
    pairs: readonly { readonly key: unknown; readonly value?: unknown }[],
    path: string,
    around: string,
    depth: number,
  ): FileMap['entries'] {
    const entries = new Map<string, { node: FileNode; at: string }>();
    for (const pair of pairs) {
      const at = this.#at(pair.key) ?? around;
      const key = isScalar(pair.key) ? String(pair.key.value) : '?';
      const name = path === '' ? key : `${path}.${key}`;
      const earlier = entries.get(key);
      if (earlier !== undefined) {
        this.findings.problem(
          { name, at },
          { message: `is given twice, first at ${earlier.at}`, allowed: 'each key once' },
        );
        continue;
      }
      entries.set(key, { node: this.#read(pair.value, name, at, depth + 1), at });
    }
    return entries;
  }

  #at(node: unknown): string | null {
    if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return null;
    const offset = node.range?.[0];
    return offset === undefined ? null : `${this.file}:${this.lines.linePos(offset).line}`;
  }
}
