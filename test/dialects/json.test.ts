import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eachText, JsonCursor, lastMember, member, parseJson } from '../../src/dialects/json.js';
import { hostileBytes } from './chunks.js';

/** Text full of what delimits JSON, and longer than the stretch that is searched by hand. */
const text = fc.oneof(
  fc.string({
    unit: fc.constantFrom('"', '\\', '{', '}', '[', ']', ':', ',', 'a', 'ü', '\n', ' '),
  }),
  fc
    .tuple(fc.nat(200), fc.constantFrom('"', '\\', '\\"', ''))
    .map(([n, end]) => 'x'.repeat(n) + end),
  fc.constantFrom('key', '"key":"no"', '\\"key\\":1'),
);
/**
 * Without escapes: V8 13.6 takes the key of an object for that of another it parsed before, where the
 * two differ in an escaped character only, and both sides here go through its JSON.parse.
 */
const plainKey = text.map((key) => key.replaceAll(/["\\\n]/g, ''));
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    text,
    fc.constantFrom(0, -1.5e-7, true, false, null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.oneof(plainKey, fc.constant('key')), tie('value'), {
      maxKeys: 3,
      noNullPrototype: true,
    }),
  ),
}));
const members = fc.uniqueArray(fc.tuple(fc.oneof(text, fc.constant('key')), value), {
  selector: ([key]) => key,
  maxLength: 5,
});
const indent = fc.constantFrom(undefined, 1, '\t');

/** Written member by member: an object would put keys that look like numbers first. */
function write(entries: readonly (readonly [string, unknown])[], space?: number | string): string {
  const colon = space === undefined ? ':' : ' : ';
  const parts = entries.map(
    ([key, entry]) => JSON.stringify(key) + colon + JSON.stringify(entry, null, space),
  );
  return `{${parts.join(space === undefined ? ',' : ' ,\n')}}`;
}

describe('the JSON cursor', () => {
  it('gives the members of any object as JSON.parse does', () => {
    fc.assert(
      fc.property(members, indent, (entries, space) => {
        const cursor = new JsonCursor(Buffer.from(` ${write(entries, space)} `));
        expect(cursor.enterObject()).toBe(true);
        const seen: [unknown, unknown][] = [];
        for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
          seen.push([parseJson(`"${key}"`), parseJson(cursor.skipValue()?.toString() ?? '')]);
        }
        expect(seen).toEqual(entries);
        expect(cursor.ended).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('gives nothing that is not whole when the bytes end early', () => {
    fc.assert(
      fc.property(members, fc.double({ min: 0, max: 1, noNaN: true }), (entries, place) => {
        const whole = Buffer.from(write(entries));
        const cursor = new JsonCursor(whole.subarray(0, Math.floor(place * (whole.length - 1))));
        let seen = 0;
        if (!cursor.enterObject()) return;
        for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
          const raw = cursor.skipValue();
          if (raw === null) break;
          expect(parseJson(raw.toString())).toEqual(entries[seen++]?.[1]);
        }
        expect(cursor.ended).toBe(false);
      }),
    );
  });

  it('enters nothing else', () => {
    expect(new JsonCursor(Buffer.from(' [1]')).enterObject()).toBe(false);
    expect(new JsonCursor(Buffer.from('{}')).enterArray()).toBe(false);
    expect(new JsonCursor(Buffer.alloc(0)).enterObject()).toBe(false);
    const empty = new JsonCursor(Buffer.from('[]'));
    expect(empty.enterArray()).toBe(true);
    expect(empty.skipValue()).toBeNull();
  });
});

describe('the last member, judged from the end', () => {
  it('is the outermost one and no other, wherever the end begins', () => {
    fc.assert(
      fc.property(members, indent, fc.nat(200), (entries, space, before) => {
        const whole = Buffer.from(write(entries, space));
        const key = entries.find(([name]) => name === 'key');
        const expected = key === undefined ? null : key[1];
        const found = lastMember(whole, 'key');
        expect(found === null ? null : parseJson(found.toString())).toEqual(expected);
        // A shorter end finds the same or nothing.
        const cut = lastMember(whole.subarray(before), 'key');
        if (cut !== null) expect(parseJson(cut.toString())).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });

  it('is not a key that merely ends like it', () => {
    expect(lastMember(Buffer.from('{"a\\"key":1}'), 'key')).toBeNull();
    expect(lastMember(Buffer.from('{"key":2,"a\\"key":1}'), 'key')?.toString()).toBe('2');
  });

  it('does not look through more than a bounded number of places', () => {
    const nested = `{"key":1,"list":[${'{"key":2},'.repeat(100)}{}]}`;
    expect(lastMember(Buffer.from(nested), 'key')).toBeNull();
  });
});

describe('texts by key', () => {
  it('are the strings under the keys asked for, and those under none', () => {
    const bytes = Buffer.from(
      '{"a" : "1","b":"2","a":["3",{"b":["4"],"a":"5\\"\\\\"}],"aa":"6","c":7,"a":"8"}',
    );
    const texts: string[] = [];
    eachText(bytes, ['a'], (start, end) => texts.push(bytes.toString('utf8', start, end)));
    expect(texts).toEqual(['1', '3', '5\\"\\\\', '8']);
    const bare = Buffer.from('"word"');
    eachText(bare, [], (start, end) => texts.push(bare.toString('utf8', start, end)));
    expect(texts.at(-1)).toBe('word');
  });
});

describe('hostile bytes', () => {
  it('make nothing throw or hang', () => {
    fc.assert(
      fc.property(hostileBytes, (bytes) => {
        const cursor = new JsonCursor(bytes);
        if (cursor.enterObject()) while (cursor.nextKey() !== null && cursor.skipValue() !== null);
        lastMember(bytes, 'model');
        eachText(bytes, ['text'], (start, end) => expect(end).toBeGreaterThanOrEqual(start));
      }),
      { numRuns: 1000 },
    );
  });

  it('reach no member that an object does not own', () => {
    expect(member({}, 'constructor')).toBeUndefined();
    expect(member(parseJson('{"__proto__":1}'), '__proto__')).toBe(1);
    expect(member('text', 'length')).toBeUndefined();
    expect(member(null, 'key')).toBeUndefined();
  });
});
