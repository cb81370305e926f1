import type { Cancel, Timers } from '../platform/timers.js';
import type { EventJournal, JournalEntry } from '../state/event-journal.js';
import type { EventRecord } from '../state/scope-state.js';
import type { StateRepository } from '../state/state-repository.js';

/** Events wait this long for company before they are written to the journal. */
const GATHER_MS = 100;
/** More than that at once are left to the next look at the state. */
const MOST_WAITING = 256;

export interface EventRecorderOptions {
  readonly repository: StateRepository;
  readonly journal: EventJournal;
  readonly scopes: readonly string[];
  readonly timers: Timers;
}

/**
 * Copies events into the journal, off everybody's way. The state remembers the newest itself, with the
 * change they tell of, and is the truth: whatever a crash or a journal that failed left out is copied
 * again from there, and the journal keeps each once.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  #waiting: JournalEntry[] = [];
  #cancel: Cancel | null = null;
  #writing: Promise<void> | null = null;
  /** Ids in the journal for sure, of events that the state of their scope still remembers. */
  readonly #known = new Map<string, Set<number>>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Takes an event that is durable. */
  take(scope: string, record: EventRecord): void {
    if (this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push(entryOf(scope, record));
    this.#cancel ??= this.#options.timers.after(GATHER_MS, () => void this.flush());
  }

  /** Resolves when what waits is in the journal, or could not be written; one write at a time. */
  async flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = null;
    while (this.#writing !== null) await this.#writing;
    const entries = this.#waiting;
    if (entries.length === 0) return;
    this.#waiting = [];
    // What fails is in the state, too, and the next look finds it missing.
    this.#writing = this.#write(entries)
      .catch(() => undefined)
      .finally(() => (this.#writing = null));
    await this.#writing;
  }

  /** Looks what the states remember and the journal has not, written by whatever instance. */
  async catchUp(): Promise<void> {
    await this.flush();
    for (const scope of this.#options.scopes) {
      const { state } = await this.#options.repository.read(scope);
      const { events } = state.cold;
      const known = this.#known.get(scope);
      const missing = events.filter(({ id }) => known?.has(id) !== true);
      if (missing.length > 0) await this.#write(missing.map((record) => entryOf(scope, record)));
      this.#known.set(scope, new Set(events.map(({ id }) => id)));
    }
  }

  async #write(entries: readonly JournalEntry[]): Promise<void> {
    await this.#options.journal.append(entries);
    for (const { scope, id } of entries) this.#known.get(scope)?.add(id);
  }
}

function entryOf(scope: string, record: EventRecord): JournalEntry {
  const { id, at, ...document } = record;
  return { stream: 'event', scope, id, at, requests: null, document };
}

export function recordOf({ id, at, document }: JournalEntry): EventRecord {
  return { id, at, ...(document as Omit<EventRecord, 'id' | 'at'>) };
}
