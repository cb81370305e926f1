import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyPieces } from '../../src/proxy/body-pieces.js';

const READ = 65_536;

/** A piece of what was read at once. */
function pieceOf(bytes: number, fill: number, read = READ): Buffer {
  return Buffer.from(new ArrayBuffer(Math.max(read, bytes)), 0, bytes).fill(fill);
}

describe('the pieces of a body', () => {
  it('are not copied if there is one only', () => {
    for (const piece of [pieceOf(1, 1), pieceOf(300, 1), pieceOf(READ, 1)]) {
      const pieces = new BodyPieces();
      pieces.push(piece);
      expect(pieces.whole()).toBe(piece);
      expect(pieces.held).toBe(piece.length);
    }
  });

  it('may be none', () => {
    expect(new BodyPieces().whole()).toHaveLength(0);
  });

  it('stay whole and in order, and take at most twice their bytes and a block', () => {
    const size = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: READ }));
    const piece = fc.record({ size, exact: fc.boolean() });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (sizes) => {
        const pieces = new BodyPieces();
        const all = sizes.map(({ size, exact }, index) => pieceOf(size, index, exact ? 0 : READ));
        for (const each of all) pieces.push(each);
        const whole = Buffer.concat(all);
        expect(pieces.received).toBe(whole.length);
        expect(pieces.held).toBeLessThanOrEqual(2 * whole.length + READ);
        expect(pieces.whole().equals(whole)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('of one byte each take no more than that, and large ones are not copied', () => {
    const pieces = new BodyPieces();
    for (let index = 0; index < 200_000; index += 1) pieces.push(pieceOf(1, 1, 1));
    expect(pieces.held).toBeLessThanOrEqual(200_000 + READ);
    const before = pieces.held;
    pieces.push(pieceOf(READ - 200, 2));
    expect(pieces.held - before).toBe(READ);
  });
});
