import type { HeaderFields } from './dialect.js';

/** Headers as `node:http` and undici deliver them: lower-case names, repeated lines as an array. */
export type HeaderRecord = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Reads `record` in place; nothing is copied. */
export function headerFields(record: HeaderRecord): HeaderFields {
  return {
    get: (name) => (Object.hasOwn(record, name) ? joined(record[name]) : undefined),
    *entries() {
      for (const name of Object.keys(record)) {
        const value = joined(record[name]);
        if (value !== undefined) yield [name, value] as const;
      }
    },
  };
}

function joined(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
