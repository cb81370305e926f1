import { describe, expect, it } from 'vitest';
import { HeldRequests } from '../../src/governor/held-requests.js';
import { ManualTime } from '../support/manual-time.js';

/** A line before a store whose writes take a turn of the event loop, and are shared by who comes meanwhile. */
class Line {
  readonly held = new HeldRequests(new ManualTime());
  /** In the order they went. */
  readonly went: number[] = [];
  writes = 0;
  open = false;
  #write: Promise<void> | null = null;

  async ask(number: number): Promise<void> {
    await this.held.wait('m', async () => {
      await (this.#write ??= this.#begin());
      if (this.open) this.went.push(number);
      return { kind: this.open ? 'admitted' : 'held' };
    });
  }

  async #begin(): Promise<void> {
    this.writes += 1;
    await new Promise((resolve) => setImmediate(resolve));
    this.#write = null;
  }
}

const NUMBERS = Array.from({ length: 100 }, (_, number) => number);

describe('requests that were held back', () => {
  it('go in turn, ever more with one write, once the first of them goes', async () => {
    const line = new Line();
    const asked = NUMBERS.map((number) => line.ask(number));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(line.went).toEqual([]);
    line.open = true;
    line.writes = 0;
    line.held.look();
    await Promise.all(asked);
    expect(line.went).toEqual(NUMBERS);
    // 1, 2, 4, 8, 16, 32 and the rest; one by one it would be 100.
    expect(line.writes).toBeLessThan(10);
  });

  it('wait 256 at a time: whoever comes then is told at once', async () => {
    const line = new Line();
    let told = 0;
    const asked = Array.from({ length: 260 }, (_, number) =>
      line.ask(number).then(() => (told += 1)),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(told).toBe(4);
    line.held.close();
    await Promise.all(asked);
  });
});
