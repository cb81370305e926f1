import { resolve } from 'node:path';
import type { Parser } from '../config/parse.js';
import { readAccessLog, type ReadLog } from '../simulate/access-lines.js';
import { replay, type ReplaySetting } from '../simulate/replay.js';
import { formatReplay } from '../simulate/replay-report.js';
import { UPSTREAM_WORLD_SETTINGS } from '../simulate/world-settings.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { EXIT } from './exit-codes.js';
import { linesOf } from './lines.js';
import type { Terminal } from './terminal.js';

const MOST_TRIES = 20;
const WINDOW = UPSTREAM_WORLD_SETTINGS.window.parser;
const KIND = UPSTREAM_WORLD_SETTINGS.kind.parser;

export const run: Run = async (args, terminal) => {
  const { options, words } = readArguments(
    args,
    {
      scope: { type: 'string' },
      window: { type: 'string', default: '5h' },
      kind: { type: 'string', default: 'fixed' },
      limit: { type: 'string' },
      try: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean' },
    },
    1,
  );
  const [file] = words;
  if (file === undefined) throw new UsageError('Say which log: tidegate replay LOG');
  const upstream = {
    kind: parsedBy(KIND, '--kind', options.kind),
    windowMs: parsedBy(WINDOW, '--window', options.window),
    limit: options.limit === undefined ? null : amountOf('--limit', options.limit),
  };
  if (options.try.length > MOST_TRIES) throw new UsageError(`Try ${MOST_TRIES} settings at most.`);
  const tries = options.try.map((text) => ({ name: text, setting: settingOf(text) }));
  const log = readAccessLog(readable(file, terminal), options.scope ?? null);
  tellBadLines(log, file, terminal);
  const scope = options.scope ?? (log.scopes.length > 1 ? null : (log.scopes[0] ?? null));
  if (scope === null || !log.scopes.includes(scope)) throw scopeNeeded(options.scope, log);
  const result = await replay(log.attempts, {
    upstream,
    settings: tries,
    ...(terminal.watched && {
      onProgress: (done, all) => terminal.err(`\rsetting ${done} of ${all} replayed `),
    }),
  });
  if (result === null) {
    terminal.err(
      'tidegate: no refusal in the log tells what the limit is, so none could have been avoided by\n' +
        '  another budget. With --limit TOKENS the log is replayed against that limit.\n',
    );
    return EXIT.ok;
  }
  if (terminal.watched) terminal.err(`\r${' '.repeat(40)}\r`);
  const text = formatReplay(result, upstream.limit !== null);
  const data = { scope, badLines: log.badLines, bad: log.bad, cutAt: log.cutAt, ...result };
  terminal.out(options.json === true ? `${JSON.stringify(data)}\n` : text);
  return EXIT.ok;
};

/** `budget=900000,window=5h,kind=sliding`; what is left out is the upstream's, the budget learned. */
function settingOf(text: string): ReplaySetting {
  const setting: { -readonly [Key in keyof ReplaySetting]: ReplaySetting[Key] } = {
    budget: null,
    windowMs: null,
    kind: null,
  };
  for (const part of text.split(',')) {
    const [key, value = ''] = part.split('=');
    if (key === 'budget') setting.budget = value === 'learn' ? null : amountOf('budget', value);
    else if (key === 'window') setting.windowMs = parsedBy(WINDOW, 'window', value);
    else if (key === 'kind') setting.kind = parsedBy(KIND, 'kind', value);
    else {
      throw new UsageError(
        `${JSON.stringify(part)} is no setting to try. There is: budget=TOKENS|learn, window=DURATION, kind=fixed|sliding|bucket`,
      );
    }
  }
  return setting;
}

function parsedBy<Value>(parser: Parser<Value>, name: string, text: string): Value {
  const result = parser.parse(text);
  if (result.ok) return result.value;
  throw new UsageError(`${name}: ${JSON.stringify(text)} is not ${parser.allowed}`);
}

function amountOf(name: string, text: string): number {
  const digits = text.replaceAll(/(?<=\d)_(?=\d{3})/g, '');
  if (/^[1-9]\d{0,12}$/.test(digits)) return Number(digits);
  throw new UsageError(`${name}: ${JSON.stringify(text)} is not a number of tokens`);
}

function* readable(file: string, terminal: Terminal): Generator<string> {
  try {
    yield* linesOf(resolve(terminal.cwd, file));
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    throw new UsageError(`${JSON.stringify(file)} can't be read (${String(error.code)}).`);
  }
}

function tellBadLines({ bad, badLines, cutAt }: ReadLog, file: string, terminal: Terminal): void {
  for (const { line, message } of bad) {
    terminal.err(`tidegate: ${file}:${line}: ${message}; left out\n`);
  }
  if (badLines > bad.length) {
    terminal.err(`tidegate: ${file}: ${badLines - bad.length} more lines left out\n`);
  }
  if (cutAt !== null) {
    terminal.err(
      `tidegate: ${file}: too long to be taken in whole: read up to line ${cutAt - 1}\n`,
    );
  }
}

function scopeNeeded(given: string | undefined, { scopes }: ReadLog): UsageError {
  if (scopes.length === 0) return new UsageError('The log has no request that could be read.');
  const there = scopes.map((scope) => JSON.stringify(scope)).join(', ');
  return new UsageError(
    given === undefined
      ? `The log is of several scopes; say which: --scope NAME. There is: ${there}`
      : `The log has no scope ${JSON.stringify(given)}. There is: ${there}`,
  );
}
