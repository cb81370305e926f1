import type { HeaderFields } from './dialect.js';

/** Headers as `node:http` and undici deliver them: lower-case names, repeated lines as an array. */
export type HeaderRecord = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Reads `record` in place; nothing is copied. */
export function headerFields(record: HeaderRecord): HeaderFields {
  return new RecordedFields(record);
}

class RecordedFields implements HeaderFields {
  constructor(private readonly record: HeaderRecord) {}

  get(name: string): string | undefined {
    return Object.hasOwn(this.record, name) ? joined(this.record[name]) : undefined;
  }

  names(prefix: string): readonly string[] {
    const { record } = this;
    return Object.keys(record).filter(
      (name) => name.startsWith(prefix) && record[name] !== undefined,
    );
  }
}

function joined(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
