import type { Guard } from '../budget/guards.js';
import type { CooldownKind, EventRecord, Instant, LossReason } from '../state/scope-state.js';

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
      /** What the upstream asked to wait; null: it did not say, and the ladder did. */
      readonly statedWaitMs: number | null;
    }
  /** A routine probe was refused, and that says more of the end. */
  | {
      readonly kind: 'cooldown-restated';
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
  /** The upstream refused for a limit that no configured one is about. */
  | {
      readonly kind: 'limit-missing';
      /** As the upstream names it. */
      readonly named: string;
      readonly model: string;
      readonly windowMs: number | null;
      readonly granted: number | null;
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
      readonly episode: number;
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
  /** Without a step of the controller: a window ended, or the configuration is another. */
  | {
      readonly kind: 'budget-moved';
      readonly limit: string;
      readonly by: 'window' | 'configuration';
      readonly from: number | null;
      readonly to: number | null;
    }
  /** Instances move it to and fro, each by its own configuration. */
  | {
      readonly kind: 'configurations-differ';
      readonly limit: string;
      readonly other: string;
      readonly own: number | null;
      readonly others: number | null;
    }
  /** The upstream's headers lead: what they make the budget, 2 % apart; null: they no longer do. */
  | {
      readonly kind: 'budget-stated';
      readonly limit: string;
      readonly previous: number | null;
      readonly budget: number | null;
      /** The limit itself, as far as it is known. */
      readonly stated: number | null;
      readonly others: number;
    }
  /** Another guard than before holds the controller back. */
  | { readonly kind: 'guard-holds'; readonly limit: string; readonly guard: Guard }
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
  | {
      readonly kind: 'budget-reset';
      readonly limit: string;
      readonly from: number | null;
      readonly to: number | null;
    };

/** What brings each kind about. */
export const CAUSES: Readonly<Record<GovernorEvent['kind'], string>> = {
  'cooldown-began': 'refusal by the upstream',
  'cooldown-climbed': 'refusal of the probe',
  'cooldown-restated': 'refusal of a routine probe',
  'episode-ended': 'success of the probe',
  'probe-taken': 'request let through to find out',
  'limit-missing': 'refusal by the upstream',
  'transient-refusal': 'refusal by the upstream',
  'overload-pause': 'overload of the upstream',
  'window-ended': 'time',
  'window-reopened': 'success of a routine probe',
  sample: 'refusal by the upstream',
  'budget-learned': 'accepted sample',
  'budget-raised': 'scheduled job',
  'budget-moved': 'end of a window, or configuration',
  'configurations-differ': 'configuration of another instance',
  'budget-stated': 'limit headers of the upstream',
  'guard-holds': 'scheduled job',
  'cautious-began': 'loss of state',
  'cautious-ended': 'limit header, or time',
  'charge-orphaned': 'instance gone',
  'unclean-start': 'start',
  'crash-loop': 'start',
  'name-shared': 'start of another instance',
  'cooldown-cleared': 'operator',
  'budget-reset': 'operator',
};

/** Which guard held the controller back at the last look, by limit; for health and metrics. */
export type GuardsHeld = Readonly<Record<string, NudgeOutcome>>;

/** What comes of a look at a budget: it is raised, or a guard holds it. */
export type NudgeOutcome = Guard | 'raised';

/** `record` is the event as it is kept, with its instant and figures. */
export type EventListener = (scope: string, event: GovernorEvent, record: EventRecord) => void;
