import { BOUNDS } from '../state/scope-state.js';
import type { Draft, ScopeRules } from './draft.js';
import type { DurableUpdates } from './durable-updates.js';

type Organizations = Readonly<Record<string, string>>;

const DONE = Promise.resolve();

/**
 * Which organization a credential belongs to, by its fingerprint: an upstream tells only with its
 * answer. Durable before it is used, or a restart would send a key's first request past its scope.
 *
 * Every answer tells it, also while the state can't be written; so there is one write at most, and it
 * takes along whatever was told until it is made.
 */
export class KeyDirectory {
  #known: Organizations = {};
  /** Told, and not durable yet; the oldest make room. */
  readonly #told = new Map<string, string>();
  #writing: Promise<void> | null = null;

  constructor(
    private readonly rules: ScopeRules,
    private readonly updates: DurableUpdates,
  ) {}

  /** Takes up what is on record. */
  load(organizations: Organizations): void {
    this.#known = organizations;
  }

  organizationOf(fingerprint: string): string | undefined {
    return Object.hasOwn(this.#known, fingerprint) ? this.#known[fingerprint] : undefined;
  }

  /** Resolves when it is durable, from when on it counts, or given up: the next answer tells it again. */
  learn(fingerprint: string, organization: string): Promise<void> {
    const before = this.#told.get(fingerprint) ?? this.organizationOf(fingerprint);
    if (before !== organization) this.#tell(fingerprint, organization);
    if (!this.#told.has(fingerprint)) return DONE;
    // The same promise for all: while the state is away every answer asks, and a wait each would pile up.
    this.#writing ??= this.#write().finally(() => (this.#writing = null));
    return this.#writing;
  }

  #tell(fingerprint: string, organization: string): void {
    this.#told.delete(fingerprint);
    const [oldest] = this.#told.keys();
    if (this.#told.size >= BOUNDS.keys && oldest !== undefined) this.#told.delete(oldest);
    this.#told.set(fingerprint, organization);
  }

  async #write(): Promise<void> {
    while (this.#told.size > 0) {
      let written: readonly (readonly [string, string])[] = [];
      let known = this.#known;
      const decide = (draft: Draft) => {
        written = [...this.#told];
        known = enter(draft, written);
      };
      if (!(await this.updates.persist(this.rules, { requestId: null, decide }))) {
        return this.#told.clear();
      }
      this.#known = known;
      for (const [fingerprint, organization] of written) {
        if (this.#told.get(fingerprint) === organization) this.#told.delete(fingerprint);
      }
    }
  }
}

/** The oldest entries make room. */
function enter(draft: Draft, told: readonly (readonly [string, string])[]): Organizations {
  const entries = new Map(Object.entries(draft.cold.organizations));
  let changed = false;
  for (const [fingerprint, organization] of told) {
    if (entries.get(fingerprint) === organization) continue;
    entries.delete(fingerprint);
    entries.set(fingerprint, organization);
    changed = true;
  }
  if (changed) {
    draft.setCold({ organizations: Object.fromEntries([...entries].slice(-BOUNDS.keys)) });
  }
  return draft.cold.organizations;
}
