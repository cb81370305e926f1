import type { LimitRules } from '../budget/settings.js';
import type { Cancel, Timers } from '../platform/timers.js';
import type { EventJournal, JournalEntry, RequestNumber } from '../state/event-journal.js';
import { type Grounds, groundsOf, keyOfRefusal, type NotedRefusal } from './grounds.js';
import { addToRuns, isInRuns, readRequestId, type Run } from './request-ids.js';

export interface RefusalLedgerOptions {
  readonly journal: EventJournal;
  /** Rules of a scope's limits. */
  readonly rulesOf: (scope: string) => readonly LimitRules[];
  readonly timers: Timers;
}

/** Refusals of so long share one entry, and its figures are no older than that. */
const GATHER_MS = 1_000;
/** Reasons apart within that time, by limit, model and scope. */
const MOST_OPEN = 64;
/** Entries that wait while the journal can't be written: a minute of them, and more for few reasons. */
const MOST_WAITING = 256;
/** Interrupted runs of ids in one entry. */
const MOST_RUNS = 256;

/** Refusals with the same grounds. */
interface Batch {
  readonly scope: string;
  readonly prefix: string;
  readonly grounds: Grounds;
  readonly runs: Run[];
}

export interface FoundRefusal {
  readonly scope: string;
  readonly grounds: Grounds;
}

/**
 * Remembers why requests were refused, without an entry a request and without a write to the state: a
 * storm of refusals costs one entry a second and reason. Best effort: a crash loses the last second.
 */
export class RefusalLedger {
  readonly #options: RefusalLedgerOptions;
  readonly #open = new Map<string, Batch>();
  #waiting: JournalEntry[] = [];
  #cancel: Cancel | null = null;
  #writing: Promise<void> | null = null;
  #unexplained = 0;
  #lastId = 0;

  constructor(options: RefusalLedgerOptions) {
    this.#options = options;
  }

  /** Refusals that found no room, since the process started. */
  get unexplained(): number {
    return this.#unexplained;
  }

  note(refusal: NotedRefusal): void {
    const id = readRequestId(refusal.requestId);
    if (id === null) return;
    const key = keyOfRefusal(refusal);
    let batch = this.#open.get(key);
    if (batch !== undefined && batch.runs.length >= MOST_RUNS) {
      this.#shut(key, batch);
      batch = undefined;
    }
    if (batch === undefined) {
      if (this.#open.size >= MOST_OPEN || this.#waiting.length >= MOST_WAITING) {
        this.#unexplained += 1;
        return;
      }
      const rules = refusal.scope === null ? [] : this.#options.rulesOf(refusal.scope);
      const grounds = groundsOf(refusal, rules);
      batch = { scope: refusal.scope ?? '', prefix: id.prefix, grounds, runs: [] };
      this.#open.set(key, batch);
    }
    addToRuns(batch.runs, id.number);
    this.#cancel ??= this.#options.timers.after(GATHER_MS, () => void this.flush());
  }

  /** Of the last 24 hours at least, by whatever instance refused it. */
  async find(request: RequestNumber): Promise<FoundRefusal | null> {
    for (const { prefix, runs, scope, grounds } of this.#open.values()) {
      if (prefix === request.prefix && isInRuns(runs, request.number)) return { scope, grounds };
    }
    const waiting = this.#waiting.filter(({ requests }) => requests?.prefix === request.prefix);
    const kept = await this.#options.journal.find(request);
    for (const { scope, document } of [...kept, ...waiting].toReversed()) {
      const { runs, grounds } = document as unknown as Pick<Batch, 'runs' | 'grounds'>;
      if (isInRuns(runs, request.number)) return { scope, grounds };
    }
    return null;
  }

  /** Resolves when what was noted is written, or could not be; that waits for the next time. */
  async flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = null;
    for (const [key, batch] of this.#open) this.#shut(key, batch);
    this.#writing ??= this.#write().finally(() => (this.#writing = null));
    await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const entries = [...this.#waiting];
      try {
        await this.#options.journal.append(entries);
      } catch {
        this.#cancel ??= this.#options.timers.after(GATHER_MS, () => void this.flush());
        return;
      }
      this.#waiting = this.#waiting.slice(entries.length);
    }
  }

  #shut(key: string, { scope, prefix, grounds, runs }: Batch): void {
    this.#open.delete(key);
    this.#lastId = Math.max(this.#lastId + 1, grounds.at);
    const first = Math.min(...runs.map((run) => run[0]));
    const last = Math.max(...runs.map((run) => run[1]));
    this.#waiting.push({
      stream: 'refusals',
      scope,
      id: this.#lastId,
      at: grounds.at,
      requests: { prefix, first, last },
      document: { runs, grounds },
    });
  }
}
