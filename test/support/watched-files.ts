import type { FileHandle } from 'node:fs/promises';
import { type FileSystem, SYSTEM_FILES } from '../../src/platform/durable-file.js';

/** A call on the file system: `rename`, or on an open file: `handle.datasync`. */
export interface FileCall {
  readonly operation: string;
  readonly path: string;
  readonly arguments: readonly unknown[];
}

export interface Watcher {
  /** May wait or throw in its place; `skip` pretends that it was done. */
  before?(call: FileCall): void | 'skip' | Promise<void | 'skip'>;
  after?(call: FileCall): void;
}

type Call = (...parameters: unknown[]) => Promise<unknown>;

/** The real file system, watched call by call. */
export function watchedFiles(watcher: Watcher): FileSystem {
  const watch =
    (operation: string, path: string | null, call: Call): Call =>
    async (...parameters) => {
      const seen = { operation, path: path ?? String(parameters[0]), arguments: parameters };
      if ((await watcher.before?.(seen)) === 'skip') return undefined;
      const result = await call(...parameters);
      watcher.after?.(seen);
      return operation === 'open' ? watchHandle(seen.path, result as FileHandle) : result;
    };
  const watchHandle = (path: string, handle: FileHandle): FileHandle =>
    new Proxy(handle, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return watch(`handle.${String(name)}`, path, member.bind(target) as Call);
      },
    });
  const calls = Object.entries(SYSTEM_FILES).filter(([, call]) => typeof call === 'function');
  return Object.fromEntries(
    calls.map(([name, call]) => [name, watch(name, null, call as Call)]),
  ) as unknown as FileSystem;
}

/** What Node throws when the kernel refuses. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up by a test`), { code });
}

/** A disk on which some calls fail until it is well again. */
export class FailingDisk {
  readonly files: FileSystem;
  /** All calls, as `operation name`, whether they failed or not. */
  readonly calls: string[] = [];
  #failing: { readonly match: RegExp; readonly code: string }[] = [];

  constructor() {
    this.files = watchedFiles({
      before: ({ operation, path }) => {
        const name = `${operation} ${path.slice(path.lastIndexOf('/') + 1)}`;
        this.calls.push(name);
        // The kernel closes whatever it says then; a file left open would be the test's own doing.
        if (operation === 'handle.close') return;
        const failure = this.#failing.find(({ match }) => match.test(name));
        if (failure !== undefined) throw systemError(failure.code);
      },
    });
  }

  /** @param match Of `operation name`: `handle.write state.json.journal`. */
  fail(match: RegExp, code: string): void {
    this.#failing.push({ match, code });
  }

  heal(): void {
    this.#failing = [];
  }
}
