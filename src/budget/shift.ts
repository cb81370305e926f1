import type { Instant, LimitState } from '../state/scope-state.js';
import { shiftWindow } from './window.js';

/** Moves every instant of the limit by `shiftMs`. */
export function shiftLimit(limit: LimitState, shiftMs: number): LimitState {
  const { window, bucket, control } = limit;
  const moved = (at: Instant | null) => (at === null ? null : at + shiftMs);
  const early = <Cell extends { readonly at: Instant }>(cell: Cell): Cell => ({
    ...cell,
    at: Math.max(0, cell.at + shiftMs),
  });
  return {
    ...limit,
    window: shiftWindow(window, shiftMs),
    cells: limit.cells.map(early),
    bucket: bucket && { ...early(bucket), history: bucket.history.map(early) },
    control: {
      ...control,
      nudgedAt: moved(control.nudgedAt),
      probedAt: moved(control.probedAt),
      refusedAt: moved(control.refusedAt),
      full: control.full && {
        since: Math.max(0, control.full.since + shiftMs),
        until: Math.max(0, control.full.until + shiftMs),
      },
      denied: control.denied && { ...control.denied, at: control.denied.at + shiftMs },
    },
  };
}
