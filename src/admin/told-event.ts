import { messageOf } from '../event-log.js';
import type { Cursor, EventPage, ToldEvent } from '../history/event-feed.js';
import { rfc3339 } from '../platform/clock.js';
import type { EventDetail, LimitFigures } from '../state/scope-state.js';

/** The body of `GET /events`, a contract (docs/reference/http.md). */
export interface Events {
  readonly events: readonly EventView[];
  /** For `after` of the next request. */
  readonly next: string;
}

export type EventView = ReturnType<typeof viewEvent>;

export function viewPage({ events, next }: EventPage): Events {
  return { events: events.map(viewEvent), next: writeCursor(next) };
}

/** An event for people and programs: times RFC 3339. */
export function viewEvent(event: ToldEvent) {
  const { scope, id, at, kind, cause, limit, requestId, instance, before, after } = event;
  return {
    scope,
    id,
    at: rfc3339(at),
    kind,
    message: messageOf(kind),
    cause,
    limit,
    requestId,
    instance,
    before: viewFigures(before),
    after: viewFigures(after),
    details: viewDetails(event.details),
  };
}

function viewFigures(figures: LimitFigures | null) {
  if (figures === null) return null;
  return { ...figures, windowEndsAt: rfc3339(figures.windowEndsAt) };
}

/** Names of details that are instants. */
const INSTANTS = /^(until|since|at|\w+At)$/;

function viewDetails(details: ToldEvent['details']): Record<string, EventDetail> {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]) => [
      name,
      typeof value === 'number' && INSTANTS.test(name) ? rfc3339(value) : value,
    ]),
  );
}

function writeCursor(cursor: Cursor): string {
  return Buffer.from(JSON.stringify(cursor)).toString('base64url');
}

/** Null: it is none. */
export function readCursor(text: string): Cursor | null {
  try {
    const raw: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return null;
    return Object.values(raw).every((id) => Number.isSafeInteger(id)) ? (raw as Cursor) : null;
  } catch {
    return null;
  }
}
