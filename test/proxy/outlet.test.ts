import type { ServerResponse } from 'node:http';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Outlet } from '../../src/proxy/outlet.js';

const JOINED = 16_384;
const moment = () => new Promise<void>((resolve) => queueMicrotask(resolve));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const FEW = { size: 3 };
const MANY = { size: 4 };

/** What a response was told, in order. */
class Response {
  readonly told: string[] = [];
  readonly written: Buffer[] = [];
  writableEnded = false;
  destroyed = false;
  full = false;

  write(piece: Buffer): boolean {
    this.written.push(piece);
    this.told.push(`write ${piece.length}`);
    return !this.full;
  }

  flushHeaders(): void {
    this.told.push('head');
  }
}

function open(of: Response, underWay: { readonly size: number }): Outlet {
  return new Outlet(of as unknown as ServerResponse, () => (full += 1), underWay);
}

let response: Response;
let outlet: Outlet;
let full: number;

beforeEach(() => {
  response = new Response();
  full = 0;
  outlet = open(response, FEW);
});

describe('the head', () => {
  it('goes out alone, where no piece comes with it', async () => {
    outlet.open();
    expect(response.told).toEqual([]);
    await moment();
    expect(response.told).toEqual(['head']);
  });

  it('leaves with the first piece, and not once more', async () => {
    outlet.open();
    outlet.write(Buffer.from('first'));
    await moment();
    outlet.write(Buffer.from('second'));
    await moment();
    expect(response.told).toEqual(['write 5', 'write 6']);
  });
});

describe('pieces', () => {
  it('of one turn leave in one write, those of the next in another', async () => {
    for (const piece of ['a', 'bc', 'def']) outlet.write(Buffer.from(piece));
    await moment();
    outlet.write(Buffer.from('g'));
    await moment();
    expect(response.written.map(String)).toEqual(['abcdef', 'g']);
  });

  it('are not joined beyond what a copy is worth, and a large one is not copied at all', async () => {
    const large = Buffer.alloc(JOINED + 1);
    outlet.write(Buffer.alloc(JOINED));
    expect(response.told, 'what fits waits for the turn’s end').toEqual([]);
    outlet.write(Buffer.alloc(1));
    expect(response.told).toEqual([`write ${JOINED}`]);
    outlet.write(large);
    expect(response.told).toEqual([`write ${JOINED}`, 'write 1', `write ${JOINED + 1}`]);
    expect(response.written[2]).toBe(large);
    await moment();
    expect(response.told).toHaveLength(3);
  });

  it('that are left when the answer ends go with its end', async () => {
    outlet.write(Buffer.from('last '));
    outlet.write(Buffer.from('words'));
    const last: string[] = [];
    outlet.end((rest) => last.push(String(rest)));
    expect(last).toEqual(['last words']);
    await moment();
    expect([last.length, response.told]).toEqual([1, []]);
  });

  it.each(['writableEnded', 'destroyed'] as const)(
    'are not written to a response that is %s by then',
    async (over) => {
      outlet.open();
      outlet.write(Buffer.from('late'));
      response[over] = true;
      await moment();
      expect(response.told).toEqual([]);
    },
  );

  it('that a client is behind with are told of', async () => {
    response.full = true;
    outlet.write(Buffer.from('a'));
    expect(full).toBe(0);
    await moment();
    expect(full).toBe(1);
    response.full = false;
    outlet.write(Buffer.from('b'));
    await moment();
    expect(full).toBe(1);
  });

  it('arrive whole and in order, however they come', async () => {
    const size = fc.oneof(fc.nat({ max: 300 }), fc.integer({ min: JOINED - 2, max: JOINED + 2 }));
    const batches = fc.array(fc.array(size, { maxLength: 6 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(batches, async (sizes) => {
        const own = new Response();
        const out = open(own, FEW);
        let byte = 0;
        const sent: Buffer[] = [];
        for (const batch of sizes) {
          for (const bytes of batch) {
            const piece = Buffer.alloc(bytes, (byte += 1));
            sent.push(piece);
            out.write(piece);
          }
          await moment();
          expect(Buffer.concat(own.written).equals(Buffer.concat(sent))).toBe(true);
        }
        for (const piece of own.written) expect(piece.length).toBeLessThanOrEqual(JOINED + 2);
      }),
      { numRuns: 50 },
    );
  });
});

describe('one of many that are under way', () => {
  beforeEach(() => {
    outlet = open(response, MANY);
  });

  it('waits for what the turn brings for the others, and no longer', async () => {
    const other = new Response();
    const others = open(other, MANY);
    outlet.write(Buffer.from('a'));
    await moment();
    outlet.write(Buffer.from('b'));
    others.write(Buffer.from('c'));
    await moment();
    expect([response.told, other.told]).toEqual([[], []]);
    await turn();
    expect([response.told, other.told]).toEqual([['write 2'], ['write 1']]);
  });

  it('has its head and its end leave together', async () => {
    const last: string[] = [];
    outlet.open();
    outlet.write(Buffer.from('whole'));
    outlet.end((rest) => last.push(String(rest)));
    expect(last).toEqual([]);
    await turn();
    expect([last, response.told]).toEqual([['whole'], []]);
    await turn();
    expect(last).toHaveLength(1);
  });

  it('ends at once when only few are left, and once', async () => {
    const underWay = { ...MANY };
    const last: string[] = [];
    outlet = open(response, underWay);
    outlet.open();
    outlet.write(Buffer.from('whole'));
    underWay.size = FEW.size;
    outlet.end((rest) => {
      last.push(String(rest));
      response.writableEnded = true;
    });
    expect(last).toEqual(['whole']);
    await turn();
    expect([last.length, response.told]).toEqual([1, []]);
  });

  it('writes at once what is too large to be joined', async () => {
    outlet.write(Buffer.alloc(JOINED + 1));
    expect(response.told).toEqual([`write ${JOINED + 1}`]);
  });
});
