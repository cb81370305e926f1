import { type EventView, type Events, viewEvent } from '../admin/told-event.js';
import type { StoreConfig } from '../config/config.js';
import { formatCount } from '../config/format.js';
import { duration } from '../config/parse.js';
import { storeName } from '../config/state-store.js';
import { recordOf } from '../history/event-recorder.js';
import { openJournal } from '../open-journal.js';
import { SYSTEM_TIME } from '../platform/clock.js';
import { sleepAwake } from '../platform/timers.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import {
  askControlPlane,
  type ControlPlane,
  controlPlaneOf,
  unreachable,
} from './control-client.js';
import { formatEvent } from './event-text.js';
import { EXIT } from './exit-codes.js';
import { inspectExisting } from './store-argument.js';
import type { Terminal } from './terminal.js';

const DAY_MS = 86_400_000;
const SINCE = duration({ min: 0, max: 366 * DAY_MS }, '1h');
const MOST = 1_000;
/** Pause before an instance that is away, as in a restart, is asked again. */
const RETRY_MS = 1_000;

interface Asked {
  readonly since: string;
  readonly sinceMs: number;
  readonly scope: string | undefined;
  readonly show: (events: readonly EventView[]) => void;
}

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, {
    follow: { type: 'boolean' },
    json: { type: 'boolean' },
    since: { type: 'string' },
    scope: { type: 'string' },
    url: { type: 'string' },
  });
  const since = options.since ?? '24h';
  const parsed = SINCE.parse(since);
  if (!parsed.ok) {
    throw new UsageError(`--since ${parsed.message}. Allowed: ${SINCE.allowed}`);
  }
  const line = options.json === true ? asJson : formatEvent;
  const asked: Asked = {
    since,
    sinceMs: parsed.value,
    scope: options.scope,
    show: (events) => events.forEach((event) => terminal.out(`${line(event)}\n`)),
  };
  const { admin, state } = mustLoadFrom(terminal);
  const plane = controlPlaneOf(admin, options.url);
  const first = await askControlPlane(plane, '/events', 'events', {
    since,
    scope: options.scope,
    limit: String(MOST),
  });
  if (first.kind === 'not-found') throw new UsageError(`${first.message}.`);
  if (first.kind === 'away') {
    if (options.follow === true || options.url !== undefined)
      throw unreachable(plane, first.reason);
    await showJournal(terminal, state, asked, plane);
    return EXIT.ok;
  }
  const { events, next } = first.body as Events;
  asked.show(events);
  tellOfExtent(terminal, asked, events.length);
  if (options.follow === true) await follow(terminal, plane, asked, next);
  return EXIT.ok;
};

/** Until nobody takes what is written, or the process is ended. */
async function follow(
  terminal: Terminal,
  plane: ControlPlane,
  { scope, show }: Asked,
  from: string,
): Promise<void> {
  let after = from;
  let away = false;
  while (terminal.outFault === null) {
    const asked = await askControlPlane(plane, '/events', 'events', { after, scope, wait: '25s' });
    if (asked.kind !== 'answer') {
      if (!away) terminal.err(`tidegate: ${plane.url} is away; waiting for it\n`);
      away = true;
      await sleepAwake(RETRY_MS);
      continue;
    }
    if (away) terminal.err(`tidegate: ${plane.url} answers again\n`);
    away = false;
    const { events, next } = asked.body as Events;
    show(events);
    after = next;
  }
}

/** With no instance running the journal itself tells, but for what the last run did not come to. */
async function showJournal(
  terminal: Terminal,
  state: StoreConfig,
  asked: Asked,
  { url }: ControlPlane,
): Promise<void> {
  const { sinceMs, scope, show } = asked;
  const journal = await openJournal(state, 'tidegate events');
  try {
    const from = Math.max(0, SYSTEM_TIME.wall() - sinceMs);
    const query = { stream: 'event', scope: scope ?? null, from, most: MOST } as const;
    terminal.err(
      `tidegate: no control plane answers at ${url}; read from the journal of ${storeName(state)}\n`,
    );
    const entries = await journal.read(query).catch(async (error: unknown) => {
      // Where there is no state, or it can't be read either, that says more.
      await inspectExisting(state);
      throw error;
    });
    // Nothing to tell, and nothing there, look alike.
    if (entries.length === 0) await inspectExisting(state);
    tellOfExtent(terminal, asked, entries.length);
    show(entries.map((entry) => viewEvent({ scope: entry.scope, ...recordOf(entry) })));
  } finally {
    await journal.close();
  }
}

/** Nothing at all, or not all there is: silence would be taken for something else. */
function tellOfExtent(terminal: Terminal, { since }: Asked, shown: number): void {
  if (shown === 0) terminal.err(`tidegate: no events within --since ${since}\n`);
  if (shown < MOST) return;
  terminal.err(
    `tidegate: these are the newest ${formatCount(shown)}; there may be older ones within --since ${since}\n`,
  );
}

function asJson(event: EventView): string {
  return JSON.stringify(event);
}
