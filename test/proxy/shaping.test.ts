import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ShapedRequest } from '../../src/dialects/dialect.js';
import { Shaping } from '../../src/proxy/shaping.js';

const ASKING = Buffer.from('asking');
const REQUEST: ShapedRequest = {
  body: ASKING,
  openFilter: () => null,
  mayReject: () => true,
  isRejected: () => true,
  undo: (body) => body,
};

function open() {
  const told: unknown[] = [];
  const shaping = new Shaping({
    name: 'api',
    dialect: { shapeRequest: () => REQUEST },
    log: { warn: (_message, fields) => void told.push(fields?.['model']) },
  });
  const shapes = (model: string) => {
    const held = {
      bytes: Buffer.from('plain') as Buffer,
      replace: (bytes: Buffer) => (held.bytes = bytes),
    };
    const shaped = shaping.shape({ headers: {} }, held, '/', model);
    expect(held.bytes === ASKING).toBe(shaped !== null);
    return shaped !== null;
  };
  return { shaping, shapes, told };
}

describe('shaping', () => {
  it('keeps no body', () => {
    const { shaping } = open();
    const held = { bytes: Buffer.alloc(1), replace: () => {} };
    expect(shaping.shape({ headers: {} }, held, '/', 'm')).not.toHaveProperty('body');
  });

  it('goes on with a model exactly until it proves to refuse, or if it ever took it', () => {
    const event = fc.record({
      model: fc.constantFrom('a', 'b', ''),
      what: fc.constantFrom('taken', 'refused'),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 12 }), (events) => {
        const { shaping, shapes, told } = open();
        for (const { model, what } of events) {
          if (what === 'taken') shaping.taken(model);
          else shaping.refused(model, 'tg_1');
        }
        for (const model of ['a', 'b', '']) {
          const seen = events.filter((one) => one.model === model).map(({ what }) => what);
          expect(shapes(model)).toBe(seen.length === 0 || seen.includes('taken'));
          expect(told.filter((one) => one === model)).toHaveLength(seen[0] === 'refused' ? 1 : 0);
        }
      }),
    );
  });

  it('remembers a bounded number of models, and asks the others each time anew', () => {
    const { shaping, shapes, told } = open();
    for (let n = 0; n < 1_000; n += 1) shaping.refused(`m${n}`, 'tg_1');
    expect(told).toHaveLength(100);
    expect([shapes('m99'), shapes('m100')]).toEqual([false, true]);
    // Names made up by one client leave room for what others find out.
    const other = open();
    for (let n = 0; n < 1_000; n += 1) other.shaping.taken(`m${n}`);
    other.shaping.refused('old', 'tg_1');
    expect([other.shapes('old'), other.shapes('m1')]).toEqual([false, true]);
  });

  it('leaves the next one of a model alone, once, where a refused one could not be sent again', () => {
    const { shaping, shapes } = open();
    shaping.doubted('a');
    expect([shapes('b'), shapes('a'), shapes('a')]).toEqual([true, false, true]);
    // That was no proof.
    shaping.doubted('a');
    shaping.doubted('a');
    expect([shapes('a'), shapes('a')]).toEqual([false, true]);
    shaping.doubted('a');
    shaping.taken('a');
    expect(shapes('a')).toBe(true);
    // It took the option once, and may have forgotten it since.
    shaping.doubted('a');
    expect([shapes('a'), shapes('a')]).toEqual([false, true]);
  });

  it('keeps that for one that would be shaped', () => {
    let shapesIt = false;
    const dialect = { shapeRequest: () => (shapesIt ? REQUEST : null) };
    const shaping = new Shaping({ name: 'api', dialect, log: { warn: () => {} } });
    const shape = () =>
      shaping.shape({ headers: {} }, { bytes: ASKING, replace: () => {} }, '/', 'm') !== null;
    shaping.doubted('m');
    expect(shape()).toBe(false);
    shapesIt = true;
    expect([shape(), shape()]).toEqual([false, true]);
  });

  it('keeps that for a bounded number of models, the newest', () => {
    const { shaping, shapes } = open();
    for (let n = 0; n < 101; n += 1) shaping.doubted(`m${n}`);
    expect([shapes('m0'), shapes('m1'), shapes('m100')]).toEqual([true, false, false]);
  });
});
