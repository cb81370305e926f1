import type { VirtualTime } from './virtual-time.js';
import type { GovernorWorld } from './world.js';

/** The plain counter of the other strategies: a window that opens with a request and ends after its length. */
export class PlainCounter {
  used = 0;
  /** Null while no window is open. */
  openedAt: number | null = null;

  constructor(
    private readonly world: GovernorWorld,
    private readonly time: VirtualTime,
  ) {}

  roll(): void {
    const { openedAt } = this;
    if (openedAt === null || this.time.elapsed - openedAt < this.world.windowMs) return;
    this.openedAt = null;
    this.used = 0;
  }

  open(): void {
    this.openedAt ??= this.time.elapsed;
  }

  /** Until the window ends. */
  get waitMs(): number {
    if (this.openedAt === null) return 0;
    return Math.max(0, this.openedAt + this.world.windowMs - this.time.elapsed);
  }
}

/** The share of the initial budget that none of them leaves. */
export function clamped(world: GovernorWorld, amount: number): number {
  const initial = world.budget ?? amount;
  return Math.min(2 * initial, Math.max(0.3 * initial, amount));
}

/** They know no other start than a budget; without one they begin with this. */
export function initialBudget(world: GovernorWorld): number {
  return world.budget ?? 1_000_000;
}
