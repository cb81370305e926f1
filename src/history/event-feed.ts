import type { Timers } from '../platform/timers.js';
import { type EventJournal, MOST_READ } from '../state/event-journal.js';
import { BOUNDS, type EventRecord, type Instant } from '../state/scope-state.js';
import type { StateRepository } from '../state/state-repository.js';
import { recordOf } from './event-recorder.js';

export interface ToldEvent extends EventRecord {
  readonly scope: string;
}

/** Events, oldest first, and where to go on from. */
export interface EventPage {
  readonly events: readonly ToldEvent[];
  readonly next: Cursor;
}

/** The id of the last event seen, by scope: ids rise within a scope only. */
export type Cursor = Readonly<Record<string, number>>;

export interface EventFeedOptions {
  readonly repository: StateRepository;
  readonly journal: EventJournal;
  readonly scopes: readonly string[];
  readonly timers: Timers;
}

/** How long others of a shared store may have something to tell before this instance looks. */
const LOOK_MS = 1_000;
/** Callers that wait at once; one more gets its answer at once. */
const MOST_WAITING = 64;

/**
 * Events for whoever asks. The newest come from the states themselves, so that they are seen as they
 * happen, on every instance and also while the journal fails; older ones come from the journal.
 */
export class EventFeed {
  readonly #options: EventFeedOptions;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(options: EventFeedOptions) {
    this.#options = options;
  }

  /** Something happened here. */
  wake(): void {
    for (const call of this.#waiting) call();
  }

  close(): void {
    this.#closed = true;
    this.wake();
  }

  /** What happened from an instant on; the newest `most` of it. */
  async since(scopes: readonly string[], from: Instant, most: number): Promise<EventPage> {
    const { journal } = this.#options;
    const [only] = scopes;
    const scope = scopes.length === 1 && only !== undefined ? only : null;
    const query = { stream: 'event', scope, from, most } as const;
    // The state is enough to answer with, if the journal can't.
    const entries = await journal.read(query).catch(() => []);
    const kept = entries
      .filter((entry) => scopes.includes(entry.scope))
      .map((entry): ToldEvent => ({ scope: entry.scope, ...recordOf(entry) }));
    const newest = await this.#remembered(scopes);
    const next: Record<string, number> = {};
    for (const { scope: name, id } of newest) next[name] = Math.max(next[name] ?? 0, id);
    const events = merged([...kept, ...newest.filter(({ at }) => at >= from)]);
    return { events: events.slice(-Math.min(most, MOST_READ)), next };
  }

  /** What happened after what was seen; waits for it, at most `waitMs`. */
  async after(scopes: readonly string[], seen: Cursor, waitMs: number): Promise<EventPage> {
    const { timers, repository } = this.#options;
    let late = false;
    const cancel = timers.after(waitMs, () => {
      late = true;
      this.wake();
    });
    try {
      for (;;) {
        const events = await this.#newer(scopes, seen);
        const full = this.#waiting.size >= MOST_WAITING;
        if (events.length > 0 || late || full || this.#closed || waitMs <= 0) {
          const next: Record<string, number> = { ...seen };
          for (const { scope, id } of events) next[scope] = Math.max(next[scope] ?? 0, id);
          return { events, next };
        }
        await this.#nextWake(repository.shared ? LOOK_MS : waitMs);
      }
    } finally {
      cancel();
    }
  }

  async #newer(scopes: readonly string[], seen: Cursor): Promise<readonly ToldEvent[]> {
    const remembered = await this.#remembered(scopes);
    const newer = remembered.filter(({ scope, id }) => id > (seen[scope] ?? 0));
    const outrun = scopes.filter((scope) => {
      const own = remembered.filter((event) => event.scope === scope);
      return own.length >= BOUNDS.events && (own[0]?.id ?? 0) > (seen[scope] ?? 0);
    });
    const missed: ToldEvent[] = [];
    for (const scope of outrun) {
      // An id is no earlier than its instant.
      const query = { stream: 'event', scope, from: 0, most: MOST_READ } as const;
      const entries = await this.#options.journal.read(query).catch(() => []);
      for (const entry of entries) {
        if (entry.id > (seen[scope] ?? 0)) missed.push({ scope, ...recordOf(entry) });
      }
    }
    return merged([...missed, ...newer]).slice(0, MOST_READ);
  }

  async #remembered(scopes: readonly string[]): Promise<ToldEvent[]> {
    const told: ToldEvent[] = [];
    for (const scope of scopes) {
      const { state } = await this.#options.repository.read(scope);
      told.push(...state.cold.events.map((event) => ({ scope, ...event })));
    }
    return told;
  }

  #nextWake(mostMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.timers.after(mostMs, () => call());
      const call = () => {
        cancel();
        this.#waiting.delete(call);
        resolve();
      };
      this.#waiting.add(call);
    });
  }
}

/** In their order, each once. */
function merged(events: readonly ToldEvent[]): ToldEvent[] {
  const byKey = new Map(events.map((event) => [`${event.id} ${event.scope}`, event]));
  return [...byKey.values()].sort(
    (a, b) => a.at - b.at || a.id - b.id || (a.scope < b.scope ? -1 : 1),
  );
}
