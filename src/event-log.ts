import type { EventListener, GovernorEvent } from './governor/events.js';
import { rfc3339 } from './platform/clock.js';
import type { Log, LogFields, LogLevel } from './platform/log.js';

/** Writes one line for each change of a scope that a person may want to know of. */
export function logEvents(log: Log): EventListener {
  return (scope, event, { requestId }) => {
    const { kind, ...rest } = event;
    const fields: Record<string, LogFields[string]> = { scope, ...(requestId && { requestId }) };
    for (const [name, value] of Object.entries(rest)) {
      fields[name] = name === 'until' ? rfc3339(value as number) : value;
    }
    log[LEVELS[kind]](MESSAGES[kind], fields);
  };
}

/** What a kind of event means, in a few words; the kind itself, if another version wrote it. */
export function messageOf(kind: string): string {
  return Object.hasOwn(MESSAGES, kind) ? MESSAGES[kind as GovernorEvent['kind']] : kind;
}

const LEVELS: Record<GovernorEvent['kind'], LogLevel> = {
  'cooldown-began': 'warn',
  'cooldown-climbed': 'warn',
  'cooldown-restated': 'warn',
  'episode-ended': 'info',
  'probe-taken': 'info',
  'transient-refusal': 'info',
  'overload-pause': 'warn',
  'window-ended': 'info',
  'window-reopened': 'info',
  sample: 'info',
  'budget-learned': 'info',
  'budget-raised': 'info',
  'budget-moved': 'info',
  'configurations-differ': 'warn',
  'budget-stated': 'info',
  'guard-holds': 'info',
  'cautious-began': 'error',
  'cautious-ended': 'info',
  'charge-orphaned': 'warn',
  'unclean-start': 'warn',
  'crash-loop': 'error',
  'name-shared': 'error',
  'cooldown-cleared': 'info',
  'budget-reset': 'info',
};

const MESSAGES: Record<GovernorEvent['kind'], string> = {
  'cooldown-began': 'the upstream refused: cooldown',
  'cooldown-climbed': 'the upstream refused the probe: longer cooldown',
  'cooldown-restated': 'the upstream refused a routine probe, and states another end',
  'episode-ended': 'the probe succeeded: cooldown over',
  'probe-taken': 'one request goes out as probe',
  'transient-refusal': 'the upstream refused in passing: relayed, no cooldown',
  'overload-pause': 'the upstream is overloaded: short pause',
  'window-ended': 'window ended',
  'window-reopened': 'the upstream had reset early: new window',
  sample: 'sample of the upstream limit',
  'budget-learned': 'budget set from the learned limit',
  'budget-raised': 'budget raised by one step',
  'budget-moved': 'budget moved',
  'configurations-differ':
    'another instance has another budget for this limit: give all the same configuration',
  'budget-stated': 'budget follows what the upstream states',
  'guard-holds': 'a guard holds the budget where it is',
  'cautious-began':
    'state was lost or restored, or the clock went back: cautious, budgets at their floor',
  'cautious-ended': 'cautious mode over',
  'charge-orphaned': 'a charge will never settle: it counts until its window ends',
  'unclean-start': 'the run before this one did not stop cleanly',
  'crash-loop': 'crash loop: budgets are not raised until it is over',
  'name-shared':
    'another instance started under the name of this one: give each its own TIDEGATE_INSTANCE',
  'cooldown-cleared': 'the operator cleared the cooldown',
  'budget-reset': 'the operator reset the learned budget',
};
