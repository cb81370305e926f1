import { CLOSED_WINDOW, type Instant, shifted, type WindowState } from '../state/scope-state.js';
import type { LimitRules } from './settings.js';

/**
 * A fixed window. It is closed until an admission opens it, and ends after its length or at the reset
 * the upstream states. The upstream's own window begins with the first request it accepts, so the
 * start is provisional until the first success anchors it (wire facts §1.2, "Window semantics").
 *
 *   closed ── open ──► provisional ── anchor ──► anchored
 *      ▲                    └───────── end ─────────┘│
 *      └─────────────────────────────────────────────┘
 */

export function isOver(window: WindowState, now: Instant): boolean {
  return window.endsAt !== null && now >= window.endsAt;
}

export function isOpen(window: WindowState): boolean {
  return window.endsAt !== null;
}

/** A window keeps its number until the next one opens; what was charged to it ended with it all the same. */
export function isUnderWay(window: WindowState, number: number): boolean {
  return isOpen(window) && window.number === number;
}

export function closeWindow(window: WindowState): WindowState {
  const { number, lengthMs } = window;
  return { ...window, ...CLOSED_WINDOW, number, lengthMs };
}

/** `observed`: nothing is missing from what we know about use since before `now`. */
export function openWindow(
  window: WindowState,
  rules: LimitRules,
  now: Instant,
  observed: boolean,
): WindowState {
  return {
    ...window,
    number: window.number + 1,
    startedAt: now,
    endsAt: now + rules.windowMs,
    anchored: false,
    stated: false,
    lengthMs: rules.windowMs,
    observed,
  };
}

/** The first success in a window: the upstream's window began when it took that request. */
export function anchorWindow(
  window: WindowState,
  rules: LimitRules,
  admittedAt: Instant,
): WindowState {
  if (window.anchored || !isOpen(window)) return window;
  const endsAt = window.stated ? window.endsAt : admittedAt + rules.windowMs;
  return { ...window, startedAt: admittedAt, endsAt, anchored: true };
}

/**
 * The operator changed the length: a window that is under way ends by the new one. Of one whose end was stated nobody
 * knows when it began; that end was another window's, and this one ends a length from now at the latest.
 */
export function adoptLength(
  window: WindowState,
  { windowMs }: LimitRules,
  now: Instant,
): WindowState {
  const { startedAt, endsAt, lengthMs, stated } = window;
  const adopted = { ...window, lengthMs: windowMs };
  if (startedAt === null || endsAt === null || lengthMs === null) return adopted;
  if (stated) return { ...adopted, endsAt: Math.min(endsAt, now + windowMs) };
  // What was used before it began, within a longer one, is not known.
  const observed = window.observed && windowMs < lengthMs;
  return { ...adopted, endsAt: startedAt + windowMs, observed };
}

/** The newest statement of a reset wins; one that is past already says nothing about this window. */
export function stateEnd(window: WindowState, resetAt: Instant, now: Instant): WindowState {
  if (!isOpen(window) || resetAt <= now) return window;
  if (window.stated && window.endsAt === resetAt) return window;
  return { ...window, endsAt: resetAt, stated: true };
}

/** Two clocks, and a reset rounded to seconds, may disagree by this much about the end of a window, */
const MOST_DISAGREEMENT_MS = 60_000;
/** and by this part of its length. */
const MOST_DISAGREEMENT = 0.02;

/**
 * Whether the upstream has begun its next window, by the reset it states, while ours has a moment to go: its end
 * is known, and a whole length lies between that and the reset stated now. One that is later by less is another
 * end of this window.
 */
export function hasTurned(
  { stated, endsAt }: WindowState,
  { windowMs }: LimitRules,
  resetAt: Instant,
  now: Instant,
): boolean {
  if (!stated || endsAt === null) return false;
  const tolerated = Math.min(MOST_DISAGREEMENT_MS, MOST_DISAGREEMENT * windowMs);
  const beginsAt = resetAt - windowMs;
  return endsAt - now <= tolerated && Math.abs(beginsAt - endsAt) <= tolerated;
}

/** Moves the window by `shiftMs`, with a clock that jumped. */
export function shiftWindow(window: WindowState, shiftMs: number): WindowState {
  if (window.startedAt === null || window.endsAt === null) return window;
  return {
    ...window,
    startedAt: shifted(window.startedAt, shiftMs),
    endsAt: shifted(window.endsAt, shiftMs),
  };
}
