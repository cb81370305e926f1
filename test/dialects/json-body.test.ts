import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonBody } from '../../src/dialects/json-body.js';
import { cutAt, cuts, feed } from './chunks.js';

function read(chunks: readonly Buffer[]): { found: Record<string, unknown>; whole: boolean } {
  const body = new JsonBody();
  feed(chunks, (chunk) => body.push(chunk));
  const found: Record<string, unknown> = {};
  const whole = body.read(['usage', 'error'], (key, value) => {
    found[key] = JSON.parse(value.toString());
  });
  return { found, whole };
}

const USAGE = { input_tokens: 12, output_tokens: 34 };
/** Around what is kept of it, 64 KiB at each end, and around what is held until something has to go. */
const sizes = fc.oneof(fc.constantFrom(0, 65_536, 131_072, 196_608, 262_144), fc.nat(500_000));

/** Of which no part of 64 KiB is like the next. */
const part = { text: 'xyz"}]', input: { usage: 1, error: [2] } };
const PART_BYTES = JSON.stringify(part).length + 1;

it('shows a member before or behind content of any size, however chunks are cut', () => {
  const inputs = [sizes, fc.boolean(), fc.constantFrom(null, 1, 40_000), cuts] as const;
  fc.assert(
    fc.property(...inputs, (size, before, behind, places) => {
      const content = Array.from({ length: Math.round(size / PART_BYTES) }, () => part);
      const first = before ? { usage: USAGE } : {};
      const last = behind === null ? {} : { error: { message: 'm'.repeat(behind) } };
      const text = JSON.stringify({ ...first, content, ...last });
      const found = { ...first, ...last };
      expect(read(cutAt(Buffer.from(text), places))).toEqual({ found, whole: true });
      // Not right behind a brace, where it could not be told.
      const cut = Buffer.from(text.slice(0, behind === null ? -1 : -2));
      expect(read(cutAt(cut, places)).whole).toBe(false);
    }),
    { numRuns: 100 },
  );
});

it('does not go on from the beginning to the end as if nothing lay between', () => {
  const upTo = (text: string, bytes: number) => text.padEnd(bytes, 'x');
  const head = upTo('{"a":"', 65_536);
  const gone = upTo('","b":{"c":"', 65_536);
  const tail = upTo('","usage":{"input_tokens":7},"d":"', 70_000);
  const body = Buffer.from(`${head}${gone}${tail}"}}`);
  expect(read([body])).toEqual({ found: {}, whole: true });
});

it('lets go of what lies between', () => {
  const body = new JsonBody();
  const chunk = Buffer.alloc(65_536, 'x');
  body.push(Buffer.from('{"content":"'));
  const before = process.memoryUsage().arrayBuffers;
  for (let sent = 0; sent < 1024; sent++) body.push(chunk);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_048_576);
});
