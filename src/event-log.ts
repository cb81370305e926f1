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
    const [level, message] = KINDS[kind];
    log[level](message, fields);
  };
}

/** What a kind of event means, in a few words; the kind itself, if another version wrote it. */
export function messageOf(kind: string): string {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind as GovernorEvent['kind']][1] : kind;
}

/** How loudly a kind of event is told, and what it means, in a few words. */
const KINDS: Readonly<Record<GovernorEvent['kind'], readonly [LogLevel, string]>> = {
  'cooldown-began': ['warn', 'the upstream refused: cooldown'],
  'cooldown-climbed': ['warn', 'the upstream refused the probe: longer cooldown'],
  'cooldown-restated': ['warn', 'the upstream refused a routine probe, and states another end'],
  'episode-ended': ['info', 'the probe succeeded: cooldown over'],
  'probe-taken': ['info', 'one request goes out as probe'],
  'limit-missing': [
    'warn',
    'the upstream refuses for a limit that no entry of `limits` is about: Tidegate can wait it out, and not pace it',
  ],
  'transient-refusal': ['info', 'the upstream refused in passing: relayed, no cooldown'],
  'overload-pause': ['warn', 'the upstream is overloaded: short pause'],
  'window-ended': ['info', 'window ended'],
  'window-reopened': ['info', 'the upstream had reset early: new window'],
  sample: ['info', 'sample of the upstream limit'],
  'budget-learned': ['info', 'budget set from the learned limit'],
  'budget-raised': ['info', 'budget raised by one step'],
  'budget-moved': ['info', 'budget moved'],
  'configurations-differ': [
    'warn',
    'another instance has another budget for this limit: give all the same configuration',
  ],
  'budget-stated': ['info', 'budget follows what the upstream states'],
  'guard-holds': ['info', 'a guard holds the budget where it is'],
  'cautious-began': [
    'error',
    'state was lost or restored, or the clock went back: cautious, budgets at their floor',
  ],
  'cautious-ended': ['info', 'cautious mode over'],
  'charge-orphaned': ['warn', 'a charge will never settle: it counts until its window ends'],
  'unclean-start': ['warn', 'the run before this one did not stop cleanly'],
  'crash-loop': ['error', 'crash loop: budgets are not raised until it is over'],
  'name-shared': [
    'error',
    'another instance started under the name of this one: give each its own TIDEGATE_INSTANCE',
  ],
  'cooldown-cleared': ['info', 'the operator cleared the cooldown'],
  'budget-reset': ['info', 'the operator reset the learned budget'],
};
