import { BOUNDS } from '../state/scope-state.js';
import type { Draft, ScopeRules } from './draft.js';
import type { DurableUpdates } from './durable-updates.js';

/**
 * Which organization a credential belongs to, by its fingerprint: an upstream tells only with its
 * answer. Durable before it is used, or a restart would send a key's first request past its scope.
 */
export class KeyDirectory {
  #known: Readonly<Record<string, string>> = {};

  constructor(
    private readonly rules: ScopeRules,
    private readonly updates: DurableUpdates,
  ) {}

  /** Takes up what is on record. */
  load(organizations: Readonly<Record<string, string>>): void {
    this.#known = organizations;
  }

  organizationOf(fingerprint: string): string | undefined {
    return Object.hasOwn(this.#known, fingerprint) ? this.#known[fingerprint] : undefined;
  }

  /** Resolves when it is durable; from then on it counts. */
  async learn(fingerprint: string, organization: string): Promise<void> {
    if (this.organizationOf(fingerprint) === organization) return;
    let known = this.#known;
    const decide = (draft: Draft) => {
      known = enter(draft, fingerprint, organization);
    };
    if (await this.updates.persist(this.rules, { requestId: null, decide })) this.#known = known;
  }
}

/** The oldest entries make room. */
function enter(
  draft: Draft,
  fingerprint: string,
  organization: string,
): Readonly<Record<string, string>> {
  const { [fingerprint]: before, ...others } = draft.cold.organizations;
  if (before !== organization) {
    const kept = Object.entries(others).slice(1 - BOUNDS.keys);
    draft.setCold({ organizations: Object.fromEntries([...kept, [fingerprint, organization]]) });
  }
  return draft.cold.organizations;
}
