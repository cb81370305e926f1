import { loadConfig, type LoadResult } from '../../src/config/load.js';
import { formatProblem } from '../../src/config/problem.js';
import type { Machine } from '../../src/config/machine.js';
import type { Config } from '../../src/config/config.js';

export type Env = Readonly<Record<string, string>>;

/** A machine `box` with nothing on its disk. */
export const NO_FILES: Machine = {
  hostname: 'box',
  readFile(path) {
    throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
  },
  kindOf: () => 'file',
};

/** Loads as on a machine `box`, in /home/op, with a directory `data` and `file` as tidegate.yaml. */
export function load(env: Env, file?: string): LoadResult {
  const withFile = file === undefined ? env : { TIDEGATE_CONFIG: 'tidegate.yaml', ...env };
  return loadConfig(withFile, '/home/op', {
    ...NO_FILES,
    readFile(path) {
      if (file !== undefined && path === '/home/op/tidegate.yaml') return file;
      return NO_FILES.readFile(path);
    },
    kindOf(path) {
      if (path === '/home/op/data') return 'directory';
      return path === '/dev/null' ? 'device' : 'file';
    },
  });
}

/** The configuration; fails the test with every problem if there is none. */
export function config(env: Env, file?: string): Config {
  const result = load(env, file);
  if (!result.ok) throw new Error(result.problems.map(formatProblem).join('\n'));
  return result.config;
}

/** All mistakes as people see them; empty if there are none. */
export function mistakes(env: Env, file?: string): readonly string[] {
  const result = load(env, file);
  return result.ok ? [] : result.problems.map(formatProblem);
}
