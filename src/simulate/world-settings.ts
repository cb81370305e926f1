import { formatDuration } from '../config/format.js';
import { duration, oneOf, parsed, wrong, type Parser } from '../config/parse.js';
import { SETTINGS, type Setting } from '../config/settings.js';
import type { HeaderKind, Restarts } from './world.js';

/** What a world file may say: parsed and explained by the same means as the configuration. */

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const YEAR = 366 * 24 * HOUR;
/** What no simulation needs more of; it keeps one of a slip of the pen from running for a day. */
const MOST_WINDOWS = 100_000;

function setting<Value, const Absent extends Setting['absent']>(
  parser: Parser<Value>,
  absent: Absent,
  meaning: string,
) {
  return { env: null, group: 'file', parser, absent, meaning } as const satisfies Setting;
}

function whole(min: number, max: number, example: string): Parser<number> {
  return {
    allowed: `a whole number from ${min} to ${max}`,
    example,
    parse(text) {
      const digits = text.replaceAll(/(?<=\d)_(?=\d{3})/g, '');
      // JSON writers may put 1000000 as 1e6.
      const number = /^\d{1,15}(e\d{1,2})?$/i.test(digits) ? Number(digits) : Number.NaN;
      if (!Number.isSafeInteger(number)) return wrong('is not a whole number');
      return number < min || number > max ? wrong('is out of range') : parsed(number);
    },
  };
}

function decimal(min: number, max: number, example: string): Parser<number> {
  return {
    allowed: `a number from ${min} to ${max}`,
    example,
    parse(text) {
      if (!/^\d{1,15}(\.\d{1,15})?(e[-+]?\d{1,2})?$/i.test(text)) return wrong('is not a number');
      const number = Number(text);
      return number < min || number > max ? wrong('is out of range') : parsed(number);
    },
  };
}

const FLAG: Parser<boolean> = {
  allowed: 'true or false',
  example: 'true',
  parse(text) {
    return text === 'true' || text === 'false' ? parsed(text === 'true') : wrong('is neither');
  },
};

const FILE: Parser<string> = {
  allowed: 'the path of a file, relative to the world file or absolute',
  example: 'trace.jsonl',
  parse: (text) => parsed(text),
};

/** `10m`, `-10m`. */
const STEP: Parser<number> = {
  allowed: `a duration up to ${formatDuration(YEAR)}, with "-" for a step back`,
  example: '-10m',
  parse(text) {
    const step = duration({ min: 0, max: YEAR }, '10m').parse(text.replace(/^[-+]/, ''));
    return step.ok && text.startsWith('-') ? parsed(-step.value) : step;
  },
};

const INSTANT = duration({ min: 0, max: 10 * YEAR }, '30h');
const LIMIT = whole(10, 1_000_000_000_000, '1000000');
const COST = whole(1, 1_000_000_000, '700');
const SECONDS = decimal(0.001, 86_400, '5');
const LOAD = decimal(0.001, 1_000, '1.5');
const SHARE = decimal(0, 1, '0.1');
const REQUIRED = { error: true } as const;

export const WORLD_SETTINGS = {
  seed: setting(
    whole(0, 2 ** 32 - 1, '1'),
    { text: '1' },
    'Repeats all chance. The same seed brings the same demand to every strategy.',
  ),
  windows: setting(
    whole(1, MOST_WINDOWS, '40'),
    { text: '40' },
    "How many of the upstream's windows are watched.",
  ),
  replicas: setting(
    whole(1, 64, '1'),
    { text: '1' },
    'Instances on one store; each takes its share of the demand.',
  ),
} as const satisfies Record<string, Setting>;

export const UPSTREAM_WORLD_SETTINGS = {
  kind: setting(SETTINGS.windowKind.parser, { text: 'fixed' }, 'How the upstream counts.'),
  window: setting(SETTINGS.window.parser, { text: '5h' }, 'Length of a window.'),
  limit: setting(
    LIMIT,
    REQUIRED,
    'Tokens a window that the upstream grants; hidden from Tidegate.',
  ),
  retryAfter: setting(FLAG, { text: 'true' }, 'Whether refusals state how long to wait.'),
  headers: setting(
    oneOf<HeaderKind>(['none', 'anthropic', 'unified', 'openai']),
    { text: 'none' },
    'Which limit headers its answers carry.',
  ),
  othersUse: setting(SHARE, { text: '0' }, 'Share of the limit that others use on average.'),
  transient429: setting(SHARE, { text: '0' }, 'Share of requests refused for no reason of ours.'),
  overload: setting(SHARE, { text: '0' }, 'Share of requests answered with 529.'),
} as const satisfies Record<string, Setting>;

export const LIMIT_CHANGE_SETTINGS = {
  at: setting(INSTANT, REQUIRED, 'When, since the start.'),
  limit: setting(LIMIT, REQUIRED, 'The limit from then on.'),
} as const satisfies Record<string, Setting>;

const OWN = { env: null, group: 'file' } as const;

export const GOVERNOR_WORLD_SETTINGS = {
  budget: { ...SETTINGS.budget, ...OWN },
  window: {
    ...SETTINGS.window,
    ...OWN,
    absent: { means: "the upstream's" },
    meaning: 'The window that Tidegate is configured with.',
  },
  windowKind: { ...SETTINGS.windowKind, ...OWN, absent: { means: "the upstream's" } },
  backoff: { ...SETTINGS.backoff, ...OWN },
  probeEvery: { ...SETTINGS.probeEvery, ...OWN },
  tick: { ...SETTINGS.tick, ...OWN },
  nudge: { ...SETTINGS.nudge, ...OWN },
  nudgeEvery: { ...SETTINGS.nudgeEvery, ...OWN },
  minTraffic: { ...SETTINGS.minTraffic, ...OWN },
  minUsed: { ...SETTINGS.minUsed, ...OWN },
} as const satisfies Record<string, Setting>;

export const DEMAND_SETTINGS = {
  load: setting(LOAD, { text: '1.5' }, "What is asked for, as a multiple of the upstream's limit."),
  sessions: setting(
    whole(1, 10_000, '12'),
    { text: '12' },
    'Agents at once. One that waits asks for nothing else.',
  ),
  retries: setting(
    whole(0, 1_000, '2'),
    { means: 'agents never give up' },
    'How often a request is sent again before its agent gives it up: SDKs 2, Claude Code 10.',
  ),
  trace: setting(
    FILE,
    { means: 'costs and durations as described' },
    'Recorded sessions, one request a line, that take the place of `tokens` and `seconds`.',
  ),
} as const satisfies Record<string, Setting>;

export const LOAD_CHANGE_SETTINGS = {
  at: setting(INSTANT, REQUIRED, 'When, since the start.'),
  load: setting(LOAD, REQUIRED, 'The load from then on.'),
} as const satisfies Record<string, Setting>;

export const TOKENS_SETTINGS = {
  median: setting(COST, { text: '700' }, 'Half of the requests cost less.'),
  p90: setting(COST, { text: '4200' }, 'Nine in ten cost less.'),
  p99: setting(COST, { text: '54000' }, 'Ninety-nine in a hundred cost less.'),
} as const satisfies Record<string, Setting>;

export const SECONDS_SETTINGS = {
  median: setting(SECONDS, { text: '5' }, 'Half of the answers take less.'),
  p95: setting(SECONDS, { text: '24' }, 'Nineteen in twenty take less.'),
} as const satisfies Record<string, Setting>;

export const RESTART_SETTINGS = {
  at: setting(INSTANT, REQUIRED, 'When the first one is, since the start.'),
  every: setting(
    duration({ min: SECOND, max: YEAR }, '5m'),
    { text: '5m' },
    'From one to the next.',
  ),
  count: setting(whole(1, 10_000, '17'), { text: '1' }, 'How many.'),
  kind: setting(
    oneOf<Restarts['kind']>(['kill', 'stop']),
    { text: 'kill' },
    '`kill`: whatever is not durable is gone. `stop`: running requests end first.',
  ),
} as const satisfies Record<string, Setting>;

export const CLOCK_SETTINGS = {
  at: setting(INSTANT, REQUIRED, 'When, since the start.'),
  step: setting(STEP, REQUIRED, 'By how much somebody sets the wall clock.'),
} as const satisfies Record<string, Setting>;
