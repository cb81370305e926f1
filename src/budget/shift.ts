import { type Instant, type LimitState, shifted } from '../state/scope-state.js';
import { shiftWindow } from './window.js';

/** Moves every instant of the limit by `shiftMs`. */
export function shiftLimit(limit: LimitState, shiftMs: number): LimitState {
  const { window, bucket, control } = limit;
  const moved = (at: Instant | null) => (at === null ? null : shifted(at, shiftMs));
  const withAt = <Cell extends { readonly at: Instant }>(cell: Cell): Cell => ({
    ...cell,
    at: shifted(cell.at, shiftMs),
  });
  return {
    ...limit,
    window: shiftWindow(window, shiftMs),
    cells: limit.cells.map(withAt),
    bucket: bucket && { ...withAt(bucket), history: bucket.history.map(withAt) },
    control: {
      ...control,
      nudgedAt: moved(control.nudgedAt),
      probedAt: moved(control.probedAt),
      refusedAt: moved(control.refusedAt),
      full: control.full && {
        since: shifted(control.full.since, shiftMs),
        until: shifted(control.full.until, shiftMs),
      },
      denied: control.denied && withAt(control.denied),
    },
  };
}
