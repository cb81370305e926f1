import { expect } from 'vitest';

/** Waits for what will come by itself in a moment; fails if it has not come within a second. */
export async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { interval: 2, timeout: 1_000 }).toBe(true);
}
