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
  MOST_ROWS,
  type RequestNumber,
} from '../../src/state/event-journal.js';
import type { Instant } from '../../src/state/scope-state.js';

/** Keeps entries for as long as the map it is given is kept: for tests. */
export class MemoryEventJournal implements EventJournal {
  constructor(private readonly entries = new Map<string, JournalEntry>()) {}

  async append(entries: readonly JournalEntry[]): Promise<void> {
    for (const entry of entries) {
      const key = keyOf(entry);
      if (!this.entries.has(key)) this.entries.set(key, structuredClone(entry));
    }
    while (this.entries.size > MOST_ROWS.event) {
      this.entries.delete(this.entries.keys().next().value as string);
    }
  }

  async read(query: JournalQuery): Promise<readonly JournalEntry[]> {
    const found = [...this.entries.values()].filter((entry) => answers(entry, query));
    return found.toSorted(inOrder).slice(-Math.min(query.most, MOST_READ));
  }

  async find(request: RequestNumber): Promise<readonly JournalEntry[]> {
    return [...this.entries.values()].filter((entry) => holds(entry, request)).toSorted(inOrder);
  }

  async prune(now: Instant): Promise<void> {
    for (const [key, { stream, at }] of this.entries) {
      if (now - at > KEPT_MS[stream]) this.entries.delete(key);
    }
  }

  get problem(): string | null {
    return null;
  }

  async close(): Promise<void> {}
}
