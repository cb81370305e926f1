import { count, flag, instant, list, map, nullable, number, object, oneOf, text } from './check.js';
import {
  type BucketCell,
  type BucketState,
  BOUNDS,
  type BudgetSource,
  type BudgetState,
  CLOSED_WINDOW,
  type ControlState,
  type LimitState,
  type StatedFraction,
  type StatedLimit,
  type WindowCell,
  type WindowState,
} from './scope-state.js';

const windowState = object<WindowState>(
  {
    number: count,
    startedAt: nullable(instant),
    endsAt: nullable(instant),
    anchored: flag,
    stated: flag,
    lengthMs: nullable(count),
    observed: flag,
  },
  // `lengthMs` was added with minor 3. Not `observed`: what is not known to be whole must not become a sample.
  { ...CLOSED_WINDOW, observed: false },
);
const budgetSource = oneOf<BudgetSource>('configured', 'learned', 'headers', 'none');
const budgetState = object<BudgetState>(
  {
    current: nullable(count),
    learned: nullable(count),
    reference: nullable(count),
    found: nullable(count),
    source: budgetSource,
  },
  // Added with minor 3: the next accepted sample tells.
  { found: null },
);
const controlState = object<ControlState>(
  {
    nudgedAt: nullable(instant),
    inTheWay: flag,
    denied: nullable(object({ at: instant, amount: count })),
    probedAt: nullable(instant),
    refusedAt: nullable(instant),
    fullWindows: count,
    full: nullable(object({ since: instant, until: instant })),
    agreeing: count,
    accepted: count,
  },
  // Added with minor 1, and with minor 2.
  { agreeing: 0, accepted: 0, full: null },
);
const fraction = number(0, 1_000);
const statedLimit = object<StatedLimit>(
  {
    name: text,
    limit: nullable(count),
    window: count,
    sequence: count,
    fraction: nullable(
      object<StatedFraction>(
        {
          from: fraction,
          fromCharged: count,
          fromCounted: count,
          used: fraction,
          usedCharged: count,
          budget: nullable(count),
        },
        // Added with minor 2: a window that was open then lowers nothing.
        { fromCounted: 0 },
      ),
    ),
  },
  // For builds of before its first release.
  { name: '' },
);
const bucketState = object<BucketState>({
  at: instant,
  carry: count,
  lowered: count,
  history: list(
    object<BucketCell>({ at: instant, amount: count, low: count, full: flag }),
    BOUNDS.history,
  ),
});
/** What a document of minor 1 does not tell: all that is orphaned may be in any cell. */
const ANY_ORPHANED = 1e12;
const windowCell = object<WindowCell>(
  { at: instant, amount: count, orphaned: count },
  { orphaned: ANY_ORPHANED },
);
/** One limit of a scope: what it was charged, and what is known of it. */
export const limitState = object<LimitState>(
  {
    window: windowState,
    used: count,
    cells: list(windowCell, BOUNDS.cells),
    bucket: nullable(bucketState),
    unsettled: map(count, BOUNDS.instances),
    orphaned: count,
    others: count,
    stated: nullable(statedLimit),
    budget: budgetState,
    control: controlState,
  },
  // Added with minor 1, and with minor 2.
  { cells: [], bucket: null, others: 0, stated: null },
);
