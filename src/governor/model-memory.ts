import { leastNeeded } from '../calibration/model-table.js';
import { BOUNDS, type Instant, type ModelEstimate } from '../state/scope-state.js';

/** What was learned about a model is kept in the state at least this often while it changes. */
const KEEP_MS = 30_000;

interface Entry {
  readonly estimate: ModelEstimate;
  /** What it counted when it was kept in the state, and when that was; Infinity and when it came: not yet. */
  readonly kept: number;
  readonly keptAt: Instant;
}

/** What this process has learned about models since it started: newer than the state by at most 30 s. */
export class ModelMemory {
  readonly #models = new Map<string, Entry>();

  get(model: string): ModelEstimate | undefined {
    return this.#models.get(model)?.estimate;
  }

  /** Takes up what is learned of a model; returns whether it is time to keep it in the state. */
  learn(model: string, estimate: ModelEstimate, at: Instant): boolean {
    const before = this.#models.get(model) ?? this.#makeRoom(at);
    if (before === null) return false;
    const due = estimate.count >= 2 * before.kept || at - before.keptAt >= KEEP_MS;
    const { kept, keptAt } = due ? { kept: estimate.count, keptAt: at } : before;
    this.#models.set(model, { estimate, kept, keptAt });
    return due;
  }

  /** What to go by of a model that was not there; null: there is no room for it. */
  #makeRoom(at: Instant): Omit<Entry, 'estimate'> | null {
    if (this.#models.size < BOUNDS.models) return { kept: 0, keptAt: 0 };
    const known = [...this.#models].map(([name, { estimate }]) => [name, estimate] as const);
    const least = leastNeeded(known, at);
    if (least === null) return null;
    this.#models.delete(least);
    // Only one that stays is worth a write: names that push one another out would cause one each time.
    return { kept: Infinity, keptAt: at };
  }
}
