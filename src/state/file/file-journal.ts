import { type FileSystem, readTail, SYSTEM_FILES } from '../../platform/durable-file.js';
import { logNames, RotatingLog } from '../../platform/rotating-log.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import type { Timers } from '../../platform/timers.js';
import {
  answers,
  type EventJournal,
  holds,
  inOrder,
  type JournalEntry,
  type JournalQuery,
  KEPT_MS,
  keyOf,
  MOST_READ,
  type RequestNumber,
  type Stream,
  STREAMS,
} from '../event-journal.js';
import type { Instant } from '../scope-state.js';

export interface FileJournalOptions {
  /** Of state.json, absolute; the journal's files stand beside it. */
  readonly path: string;
  readonly timers?: Timers;
  readonly files?: FileSystem;
}

/** What one file of a stream holds, and how many older ones there are: 20 and 32 MiB in all. */
const MOST_BYTES: Readonly<Record<Stream, number>> = { event: 2_097_152, refusals: 4_194_304 };
const KEEP: Readonly<Record<Stream, number>> = { event: 9, refusals: 7 };
const ENDINGS: Readonly<Record<Stream, string>> = { event: 'events', refusals: 'refusals' };
/** What a start reads of the newest file, to know which of the state's events it has already. */
const TAIL_BYTES = 1_048_576;
/** More than any line has. */
const LINE_BYTES = 65_536;
/** Keys remembered: of more events than the states of all scopes hold. */
const MOST_KEYS = 8_192;

/**
 * Two rotated files of JSON lines beside state.json: `.events`, and `.refusals` apart from it, so that
 * a storm of refusals can't push events out. Lines are written in batches, off everybody's way.
 */
export class FileEventJournal implements EventJournal {
  readonly #options: FileJournalOptions;
  readonly #files: FileSystem;
  readonly #logs = new Map<Stream, RotatingLog>();
  #known: Promise<Set<string>> | null = null;

  constructor(options: FileJournalOptions) {
    this.#options = options;
    this.#files = options.files ?? SYSTEM_FILES;
  }

  async append(entries: readonly JournalEntry[]): Promise<void> {
    const known = await (this.#known ??= this.#readKeys());
    let lost = 0;
    for (const entry of entries) {
      const key = keyOf(entry);
      if (known.has(key)) continue;
      if (this.#log(entry.stream).write(lineOf(entry))) known.add(key);
      else lost += 1;
    }
    for (const key of known) {
      if (known.size <= MOST_KEYS) break;
      known.delete(key);
    }
    if (lost > 0) throw new TidegateError('STATE_UNAVAILABLE', `${lost} entries found no room`);
  }

  async read(query: JournalQuery): Promise<readonly JournalEntry[]> {
    const most = Math.min(query.most, MOST_READ);
    let found: JournalEntry[] = [];
    // The newest file first: most questions are about it alone.
    for (const name of this.#namesOf(query.stream)) {
      const entries = await this.#entriesIn(name, query.stream);
      if (entries === null) break;
      found = [...entries.filter((entry) => answers(entry, query)), ...found];
      if (found.length >= most || (entries[0]?.at ?? Infinity) < query.from) break;
    }
    return found.toSorted(inOrder).slice(-most);
  }

  async find(request: RequestNumber): Promise<readonly JournalEntry[]> {
    const found: JournalEntry[] = [];
    for (const name of this.#namesOf('refusals')) {
      const entries = await this.#entriesIn(name, 'refusals', request.prefix);
      if (entries === null) break;
      found.push(...entries.filter((entry) => holds(entry, request)));
    }
    return found.toSorted(inOrder);
  }

  /** Size bounds the files; age only those that nobody has written to for as long as entries live. */
  async prune(now: Instant): Promise<void> {
    for (const stream of STREAMS) {
      for (const name of this.#namesOf(stream).slice(1)) {
        const tail = await readTail(this.#files, name, LINE_BYTES);
        if (tail === null) break;
        const newest = tail.split('\n').flatMap(entryIn).at(-1)?.at ?? 0;
        if (now - newest > KEPT_MS[stream]) await this.#files.rm(name, { force: true });
      }
    }
  }

  get problem(): string | null {
    const logs = [...this.#logs.values()];
    return logs.map((log) => log.problem).find((told) => told !== null) ?? null;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#logs.values()].map((log) => log.close()));
  }

  #log(stream: Stream): RotatingLog {
    const open = this.#logs.get(stream);
    if (open !== undefined) return open;
    const { timers } = this.#options;
    const log = new RotatingLog({
      path: this.#pathOf(stream),
      mostBytes: MOST_BYTES[stream],
      keep: KEEP[stream],
      onProblem: () => {},
      files: this.#files,
      ...(timers && { timers }),
    });
    this.#logs.set(stream, log);
    return log;
  }

  #pathOf(stream: Stream): string {
    return `${this.#options.path}.${ENDINGS[stream]}`;
  }

  #namesOf(stream: Stream): readonly string[] {
    return logNames(this.#pathOf(stream), KEEP[stream]);
  }

  /** Null: there is no such file. What is no entry, like a line that a crash tore, is passed over. */
  async #entriesIn(name: string, stream: Stream, mention = ''): Promise<JournalEntry[] | null> {
    await this.#logs.get(stream)?.flush();
    const text = await readTail(this.#files, name, 2 * MOST_BYTES[stream]);
    if (text === null) return null;
    return text.split('\n').flatMap((line) => (line.includes(mention) ? entryIn(line) : []));
  }

  async #readKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (const name of this.#namesOf('event').slice(0, 2).toReversed()) {
      const text = await readTail(this.#files, name, TAIL_BYTES).catch(() => null);
      for (const line of text?.split('\n') ?? []) {
        for (const entry of entryIn(line)) keys.add(keyOf(entry));
      }
    }
    return keys;
  }
}

function lineOf({ stream, scope, id, at, requests, document }: JournalEntry): string {
  return JSON.stringify({ stream, scope, id, at, requests, document });
}

function entryIn(line: string): JournalEntry[] {
  if (!line.startsWith('{"stream":')) return [];
  try {
    const entry = JSON.parse(line) as JournalEntry;
    return [entry];
  } catch {
    return [];
  }
}
