import { promises as files, readFileSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadConfig } from '../config/load.js';
import { moveInPlace, SYSTEM_FILES } from '../platform/durable-file.js';
import { errorCode } from '../platform/tidegate-error.js';
import { BOUNDS } from '../state/scope-state.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { formatProblems } from './configuration.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { fetchGroups } from './limits-api.js';
import { formatLimits, mergeLimits } from './limits-file.js';
import { readProviderLimits, type ImportedLimit } from './provider-limits.js';
import type { Terminal } from './terminal.js';

const API = 'https://api.anthropic.com';
/** Where the key is looked for before stdin. */
const KEY_VARIABLE = 'ANTHROPIC_ADMIN_KEY';
const MOST_BYTES = 16_384;

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, {
    api: { type: 'string', default: API },
    model: { type: 'string', multiple: true, default: [] },
    upstream: { type: 'string' },
    write: { type: 'string' },
  });
  const base = readBase(options.api);
  const fetched = await fetchGroups(base, await readKey(terminal));
  if (!fetched.ok) return give(terminal, fetched.message, fetched.hint, fetched.code);
  const { limits, leftOut } = readProviderLimits(fetched.groups, options.model);
  for (const what of leftOut) terminal.err(`tidegate: left out: ${what}\n`);
  if (limits.length === 0) {
    const hint =
      options.model.length > 0
        ? 'leave --model out to see all'
        : 'limits are learned from headers and refusals then';
    return give(terminal, 'there are no limits to import', hint, EXIT.config);
  }
  if (options.write === undefined) return print(terminal, limits);
  return write(terminal, limits, options.write, options.upstream ?? null);
};

function give(terminal: Terminal, message: string, hint: string, code: ExitCode): ExitCode {
  terminal.err(`tidegate: ${message}.\nWhat to do: ${hint}\n`);
  return code;
}

/** An admin's key goes nowhere in the clear, but for this machine's own tests and tunnels. */
function readBase(text: string): URL {
  const base = URL.parse(text);
  const isLocal = base !== null && ['127.0.0.1', '[::1]', 'localhost'].includes(base.hostname);
  const isSafe = base?.protocol === 'https:' || (base?.protocol === 'http:' && isLocal);
  if (base === null || !isSafe || base.username !== '' || base.password !== '') {
    throw new UsageError('--api takes the https URL of the API, without a user.');
  }
  return base;
}

async function readKey(terminal: Terminal): Promise<string> {
  const set = terminal.env[KEY_VARIABLE];
  if (set === undefined && terminal.interactive) {
    terminal.err('Paste the Admin key, then press Enter and Ctrl-D:\n');
  }
  const key = (set ?? (await terminal.readInput(MOST_BYTES))).trim();
  // Only what a header can carry; the text itself is in no message.
  if (/^[\x21-\x7e]{1,1024}$/.test(key)) return key;
  throw new UsageError(
    `There is no Admin key. Set ${KEY_VARIABLE}, or pipe it in: printenv KEY | tidegate limits import`,
  );
}

function print(terminal: Terminal, limits: readonly ImportedLimit[]): ExitCode {
  terminal.out(formatLimits(limits));
  if (limits.length > BOUNDS.limits) {
    terminal.err(
      `tidegate: warning: these are ${limits.length} limits, and an upstream takes ${BOUNDS.limits}: choose with --model NAME\n`,
    );
  }
  return EXIT.ok;
}

async function write(
  terminal: Terminal,
  limits: readonly ImportedLimit[],
  name: string,
  upstream: string | null,
): Promise<ExitCode> {
  const path = followed(resolve(terminal.cwd, name));
  const before = textOf(path);
  const merged = mergeLimits(before ?? '', limits, upstream);
  if (!merged.ok) return give(terminal, merged.message, merged.hint, EXIT.config);
  const problems = problemsOf(path, merged.text, terminal);
  if (problems !== '') {
    terminal.err(problems);
    return give(terminal, `${name} is left as it was`, 'mend it, then run this again', EXIT.config);
  }
  if (merged.text === before) {
    terminal.out(`${name} has these limits already.\n`);
    return EXIT.ok;
  }
  await replace(path, merged.text, before !== null);
  terminal.out(merged.notes.map((note) => `${note}\n`).join(''));
  return EXIT.ok;
}

/** Where a symbolic link leads, so that the file behind it is replaced, and not the link. */
function followed(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw new UsageError(`${path} can't be read: ${errorCode(error)}`);
  }
}

/** What "check-config" would say of the file as it will be. */
function problemsOf(path: string, text: string, { cwd, machine }: Terminal): string {
  const readFile = (asked: string) => (asked === path ? text : machine.readFile(asked));
  const result = loadConfig({ TIDEGATE_CONFIG: path }, cwd, { ...machine, readFile });
  return result.ok ? '' : formatProblems(result.problems);
}

/** Whole or not at all, with the rights it had. */
async function replace(path: string, text: string, exists: boolean): Promise<void> {
  const written = `${path}.${process.pid}.tmp`;
  const mode = exists ? (await files.stat(path)).mode & 0o777 : 0o600;
  try {
    await files.writeFile(written, text, { mode, flag: 'wx' });
    await moveInPlace(SYSTEM_FILES, written, path);
  } catch (error) {
    await files.rm(written, { force: true });
    throw new UsageError(`${path} can't be written: ${errorCode(error)}`);
  }
}
