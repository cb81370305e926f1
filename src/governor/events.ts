import type { Guard } from '../budget/guards.js';
import type { CooldownKind, Instant, LossReason } from '../state/scope-state.js';

/**
 * A change of a scope's state that a person may want to know of, reported once it is durable. `pool` names
 * the limit or the model of a pool's ladder; null: the scope's.
 */
export type GovernorEvent =
  | {
      readonly kind: 'cooldown-began' | 'cooldown-climbed';
      readonly refusal: CooldownKind;
      readonly episode: number;
      readonly rung: number;
      readonly until: Instant;
      readonly limit: string | null;
      readonly pool: string | null;
    }
  | {
      readonly kind: 'episode-ended';
      readonly episode: number;
      readonly rungs: number;
      readonly pool: string | null;
    }
  | {
      readonly kind: 'probe-taken';
      readonly role: 'probe' | 'routine';
      readonly pool: string | null;
    }
  | { readonly kind: 'transient-refusal' }
  | { readonly kind: 'overload-pause'; readonly rung: number; readonly until: Instant }
  | { readonly kind: 'window-ended'; readonly limit: string; readonly used: number }
  | { readonly kind: 'window-reopened'; readonly limit: string }
  | {
      readonly kind: 'sample';
      readonly limit: string | null;
      readonly tokens: number;
      readonly accepted: boolean;
      readonly reason: string | null;
    }
  | {
      readonly kind: 'budget-learned';
      readonly limit: string;
      readonly learned: number;
      readonly from: number | null;
      readonly to: number | null;
    }
  | {
      readonly kind: 'budget-raised';
      readonly limit: string;
      readonly from: number;
      readonly to: number;
    }
  | { readonly kind: 'cautious-began'; readonly reason: LossReason; readonly until: Instant }
  | { readonly kind: 'cautious-ended'; readonly by: 'limit-header' | 'window' }
  | {
      readonly kind: 'charge-orphaned';
      readonly instance: string;
      readonly limit: string;
      readonly amount: number;
    }
  | { readonly kind: 'unclean-start'; readonly instance: string; readonly uncleanStarts: number }
  | { readonly kind: 'crash-loop'; readonly instance: string; readonly uncleanStarts: number }
  | { readonly kind: 'name-shared'; readonly instance: string }
  | { readonly kind: 'cooldown-cleared' }
  | { readonly kind: 'budget-reset' };

/** Which guard held the controller back at the last look, by limit; for health and metrics. */
export type GuardsHeld = Readonly<Record<string, NudgeOutcome>>;

/** What comes of a look at a budget: it is raised, or a guard holds it. */
export type NudgeOutcome = Guard | 'raised';

/** `requestId` of the request that brought it about, null for the job, a start or the operator. */
export type EventListener = (scope: string, event: GovernorEvent, requestId: string | null) => void;
