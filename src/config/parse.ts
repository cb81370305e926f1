/**
 * Texts to values. Parsers are total: any text gives a value or says what is wrong with it, and no
 * parser throws. Each knows in words what it takes; the reference and every error message use them.
 */
import { KEY_HEADERS } from './fingerprint.js';
import { DURATION_UNITS, formatCount, formatDuration, formatPercent } from './format.js';
import { countMeant, durationMeant, percentMeant } from './meant.js';

export interface Parser<Value> {
  /** Goes on from `Allowed: `. */
  readonly allowed: string;
  readonly example: string;
  parse(text: string): Parsed<Value>;
}

/** `message` goes on from the value: `is not a duration`. */
export type Parsed<Value> =
  { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly message: string };

export function parsed<Value>(value: Value): Parsed<Value> {
  return { ok: true, value };
}

/** What a mistake says about the right thing. */
export function expected({ allowed, example }: Parser<unknown>) {
  return { allowed, example };
}

export function wrong(message: string): { readonly ok: false; readonly message: string } {
  return { ok: false, message };
}

// Fifteen digits of any unit are finite; what they come to is held against `max` afterwards.
const DURATION =
  /^(?:(?<d>\d{1,15})d)?(?:(?<h>\d{1,15})h)?(?:(?<m>\d{1,15})m)?(?:(?<s>\d{1,15})s)?(?:(?<ms>\d{1,15})ms)?$/;

export interface DurationBounds {
  /** In ms, inclusive. */
  readonly min: number;
  readonly max: number;
  /** What 0 means where it is allowed in spite of `min`: `never`. */
  readonly zero?: string;
}

/** `250ms`, `30s`, `1h30m`: milliseconds. */
export function duration(bounds: DurationBounds, example: string): Parser<number> {
  const { min, max, zero } = bounds;
  const range = `from ${formatDuration(min)} to ${formatDuration(max)}`;
  return {
    allowed:
      `a whole number with ms, s, m, h or d, ${range}` +
      (zero === undefined ? '' : `, or 0 (${zero})`),
    example,
    parse(text) {
      const durationMs = readDuration(text, zero !== undefined || min === 0);
      if (durationMs === null) return wrong(`is not a duration${durationMeant(text)}`);
      if (durationMs === 0 && zero !== undefined) return parsed(0);
      if (durationMs < min) return wrong(`is shorter than ${formatDuration(min)}`);
      if (durationMs > max) return wrong(`is longer than ${formatDuration(max)}`);
      return parsed(durationMs);
    },
  };
}

function readDuration(text: string, bareZero: boolean): number | null {
  if (text === '0' && bareZero) return 0;
  const digits = text === '' ? undefined : DURATION.exec(text)?.groups;
  if (digits === undefined) return null;
  return DURATION_UNITS.reduce((sum, [unit, unitMs]) => {
    return sum + Number(digits[unit] ?? 0) * unitMs;
  }, 0);
}

const MOST_RUNGS = 10;

/** `30s,60s,120s`: ascending milliseconds, 1 to 10 of them. */
export function ladder(bounds: DurationBounds, example: string): Parser<readonly number[]> {
  const rung = duration(bounds, example);
  return {
    allowed: `1 to ${MOST_RUNGS} durations, each longer than the one before, separated by commas; each ${rung.allowed}`,
    example,
    parse(text) {
      const rungs: number[] = [];
      const texts = text.split(',').map((part) => part.trim());
      if (texts.length > MOST_RUNGS) return wrong(`has ${texts.length} durations`);
      for (const part of texts) {
        const one = rung.parse(part);
        if (!one.ok) return wrong(`is not a ladder: ${JSON.stringify(part)} ${one.message}`);
        const previous = rungs.at(-1);
        if (previous !== undefined && one.value <= previous) {
          return wrong(`is not ascending: ${part} follows ${texts[rungs.length - 1]}`);
        }
        rungs.push(one.value);
      }
      return parsed(rungs);
    },
  };
}

/**
 * `3%`: a fraction, to a thousandth of a percent. A plain number is refused, for 0.03 and 3 could
 * mean the same.
 */
export function percent(min: number, max: number, example: string): Parser<number> {
  return {
    allowed: `a percentage from ${formatPercent(min)} to ${formatPercent(max)}`,
    example,
    parse(text) {
      const [, whole, decimals = ''] = /^(\d{1,6})(?:\.(\d{1,3}))?%$/.exec(text) ?? [];
      if (whole === undefined) return wrong(`is not a percentage${percentMeant(text, max)}`);
      // One exact division, so that `0.3%` is the same number as the literal 0.003.
      const fraction = Number(whole + decimals.padEnd(3, '0')) / 100_000;
      if (fraction < min) return wrong(`is less than ${formatPercent(min)}`);
      if (fraction > max) return wrong(`is more than ${formatPercent(max)}`);
      return parsed(fraction);
    },
  };
}

/** Beyond any budget, and far enough below 2^53 that sums of a few stay exact. */
export const MOST_COUNTED = 1_000_000_000_000;

/** `1_000_000`; or the word, which means null. */
export function countOr(word: string, example: string): Parser<number | null> {
  return {
    allowed: `a whole number from 1 to ${formatCount(MOST_COUNTED)} (1000000 or 1_000_000), or "${word}"`,
    example,
    parse(text) {
      if (text === word) return parsed(null);
      if (!/^\d{1,3}(_\d{3})+$|^\d{1,15}$/.test(text)) {
        return wrong(`is not a whole number${countMeant(text, MOST_COUNTED)}`);
      }
      const count = Number(text.replaceAll('_', ''));
      if (count < 1) return wrong('is less than 1');
      if (count > MOST_COUNTED) return wrong(`is more than ${formatCount(MOST_COUNTED)}`);
      return parsed(count);
    },
  };
}

export function oneOf<Choice extends string>(choices: readonly Choice[]): Parser<Choice> {
  return {
    allowed: `one of ${choices.join(', ')}`,
    example: choices[0] ?? '',
    parse(text) {
      const choice = choices.find((candidate) => candidate === text);
      if (choice !== undefined) return parsed(choice);
      const near = choices.find((candidate) => candidate === text.toLowerCase());
      return wrong(`is not known${near === undefined ? '' : `; did you mean "${near}"?`}`);
    },
  };
}

/**
 * What any plain object has under that name would be found where a scope's or limit's memory is
 * looked up.
 */
function isReserved(name: string): boolean {
  return name in Object.prototype;
}

/** Longest name of an upstream, scope or limit, the upstream's part of a scope's name included. */
export const LONGEST_NAME = 64;

/** Name of an upstream, scope or limit. */
export function name(example: string): Parser<string> {
  return {
    allowed: `1 to ${LONGEST_NAME} of a-z, 0-9, ".", "_", "-" and "/", the first a letter or digit`,
    example,
    parse(text) {
      if (isReserved(text)) return wrong('is reserved');
      return /^[a-z0-9][a-z0-9._/-]{0,63}$/.test(text) ? parsed(text) : wrong('is not a name');
    },
  };
}

export const INSTANCE_NAME: Parser<string> = {
  allowed: '1 to 128 of A-Z, a-z, 0-9, ".", "_", "-" and ":", the first a letter or digit',
  example: 'gateway-1',
  parse(text) {
    if (isReserved(text)) return wrong('is reserved');
    return /^[A-Za-z0-9][\w.:-]{0,127}$/.test(text) ? parsed(text) : wrong('is not a name');
  },
};

/**
 * What stands in examples in the place of a secret, there for everybody to read, or is left of a
 * variable that nobody has filled in: `replace-me-…`, `<your token>`, `${TOKEN}`.
 */
const PLACEHOLDER =
  /^(replace|change)[-_]?(me(?!nt)|this|it|with)|^(your|example|todo)[-_].*(token|key|secret|pass|here)|^<.*>$|^\$[({]|^\{\{|^(?<same>.)\k<same>*$/i;

/** A secret that people or machines made up. */
export const SECRET: Parser<string> = {
  allowed: '16 to 256 visible ASCII characters, no spaces',
  example: 'what "openssl rand -hex 24" prints',
  parse(text) {
    if (!/^[!-~]*$/.test(text)) return wrong('has spaces or characters beyond ASCII');
    if (text.length < 16) return wrong('is shorter than 16 characters');
    if (text.length > 256) return wrong('is longer than 256 characters');
    return PLACEHOLDER.test(text) ? wrong('is a placeholder, and no secret') : parsed(text);
  },
};

const CREDENTIAL_HEADERS = ['authorization', 'cookie', 'proxy-authorization', ...KEY_HEADERS];

/**
 * A header's name, in lower case. Headers that carry credentials are refused: a fingerprint names
 * those.
 */
export const HEADER_NAME: Parser<string> = {
  allowed: 'the name of a header that carries no credential (for keys: "keyFingerprint")',
  example: 'x-team',
  parse(text) {
    const lower = text.toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,100}$/.test(lower))
      return wrong('is not the name of a header');
    return CREDENTIAL_HEADERS.includes(lower) ? wrong('carries a credential') : parsed(lower);
  },
};

export const HEADER_VALUE: Parser<string> = {
  allowed: '1 to 256 visible ASCII characters, spaces between them; compared exactly',
  example: 'research',
  parse(text) {
    const visible = /^[!-~]([ -~]{0,254}[!-~])?$/.test(text);
    return visible ? parsed(text) : wrong('is not the value of a header');
  },
};

export const ORGANIZATION: Parser<string> = {
  allowed: '1 to 100 letters, digits, "-" and "_"',
  example: '8f0c2a51-3c7e-4c1e-9b0a-5d1f6a2b7c3d',
  parse(text) {
    return /^[\w-]{1,100}$/.test(text) ? parsed(text) : wrong('is not the id of an organization');
  },
};

export const FINGERPRINT: Parser<string> = {
  allowed: '16 hexadecimal digits as "tidegate fingerprint" prints them',
  example: '3f2a9c0d5b7e1846',
  parse(text) {
    const lower = text.toLowerCase();
    return /^[0-9a-f]{16}$/.test(lower) ? parsed(lower) : wrong('is not a fingerprint');
  },
};
