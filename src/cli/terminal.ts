import { readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Environment } from '../config/given.js';
import type { Machine } from '../config/machine.js';

/** All that a command sees of the process it runs in. */
export interface Terminal {
  readonly env: Environment;
  readonly cwd: string;
  readonly machine: Machine;
  /** Whether a person is typing. */
  readonly interactive: boolean;
  /** Whether a person reads what goes to stderr. */
  readonly watched: boolean;
  /** What comes in on stdin, to its end or to `mostBytes`, whichever is first. */
  readInput(mostBytes: number): Promise<string>;
  /** Why something for stdout was lost: `EPIPE` where nobody reads it any more. Null: nothing was. */
  readonly outFault: string | null;
  out(text: string): void;
  err(text: string): void;
}

type Streams = Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr'>;

/** The process as a command sees it. */
export function terminalOf(
  env: Environment,
  cwd: string,
  { stdin, stdout, stderr }: Streams,
): Terminal {
  let outFault: string | null = null;
  // An error that nobody listens to would end the process, and a server does without its log.
  for (const stream of [stdout, stderr]) stream.on('error', () => {});
  return {
    env,
    cwd,
    machine: { hostname: hostname(), readFile: (path) => readFileSync(path, 'utf8'), kindOf },
    interactive: stdin.isTTY === true,
    watched: stderr.isTTY === true,
    async readInput(mostBytes) {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of stdin as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > mostBytes) break;
      }
      return Buffer.concat(chunks).toString('utf8');
    },
    get outFault() {
      return outFault;
    },
    out: (text) =>
      void stdout.write(text, (error: NodeJS.ErrnoException | null | undefined) => {
        if (error) outFault ??= error.code ?? error.message;
      }),
    err: (text) => void stderr.write(text),
  };
}

function kindOf(path: string): ReturnType<Machine['kindOf']> {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.isFile()) return 'file';
    return found.isDirectory() ? 'directory' : 'device';
  } catch {
    // Whoever opens it will say why it can't be looked at.
    return 'file';
  }
}

export const THIS_TERMINAL = terminalOf(process.env, process.cwd(), process);
