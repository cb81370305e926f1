import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Environment } from '../config/given.js';
import type { Machine } from '../config/load.js';

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
  /** Nobody reads stdout any more. */
  readonly outGone: boolean;
  out(text: string): void;
  err(text: string): void;
}

export const THIS_TERMINAL: Terminal = {
  env: process.env,
  cwd: process.cwd(),
  machine: { hostname: hostname(), readFile: (path) => readFileSync(path, 'utf8') },
  interactive: process.stdin.isTTY === true,
  watched: process.stderr.isTTY === true,
  async readInput(mostBytes) {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > mostBytes) break;
    }
    return Buffer.concat(chunks).toString('utf8');
  },
  get outGone() {
    return process.stdout.destroyed;
  },
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
};
