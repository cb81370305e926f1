import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TemporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const BOOT_SCRIPT = fileURLToPath(new URL('boot-systemd.sh', import.meta.url));
const BOOT_MS = 10_000;
const COMMAND_MS = 20_000;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const NAMESPACES = ['--mount', '--pid', '--net', '--ipc', '--uts', '--cgroup'];
/** As seen inside the machine. */
export const INSTALLED = '/opt/tidegate';
export const INSTALLED_NODE = `${INSTALLED}/node_modules/.bin/node`;

/** Why no systemd can be booted here, in words; null if it can. */
export function reasonWithoutMachine(): string | null {
  if (process.platform !== 'linux') return 'namespaces and systemd are Linux’s';
  if (process.getuid?.() !== 0) return 'booting a systemd of our own needs root';
  if (!existsSync('/lib/systemd/systemd')) return 'systemd is not installed';
  if (cgroupRoot() === null) return 'no cgroup2 file system is mounted';
  const mounts = ['tmpfs', 'proc', 'cgroup2'].map((type) => `mount -t ${type} none /mnt`);
  const trial = spawnSync('unshare', ['--fork', ...NAMESPACES, 'sh', '-c', mounts.join(' && ')]);
  if (trial.status !== 0) return 'this machine does not let us make namespaces and mounts';
  return null;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
}

/**
 * A real systemd as PID 1 of namespaces of its own, with a network of its own: the shipped unit runs
 * there as it is, on its own ports. This repository is its /opt/tidegate.
 */
export class SystemdMachine {
  readonly #directory = new TemporaryDirectory();
  /** The processes of the machine, so that its systemd is the lord of a tree of its own. */
  readonly #cgroup = mkdtempSync(join(cgroupRoot() ?? '/nowhere', 'tidegate-test-'));
  #process: ChildProcess | null = null;
  /** PID 1 of the machine, as we see it. */
  #leader = 0;
  #since = '@0';

  private constructor() {}

  /** `units`: files for /etc/systemd/system, by path below it. */
  static async boot(units: Readonly<Record<string, string>>): Promise<SystemdMachine> {
    const machine = new SystemdMachine();
    try {
      await machine.#boot(units);
    } catch (error) {
      await machine.end();
      throw error;
    }
    return machine;
  }

  async #boot(units: Readonly<Record<string, string>>): Promise<void> {
    const console = this.#directory.at('console');
    writeFileSync(console, '');
    mkdirSync(this.#directory.at('root'));
    mkdirSync(this.#directory.at('units'));
    for (const [path, text] of Object.entries(units)) {
      mkdirSync(dirname(this.#directory.at('units', path)), { recursive: true });
      writeFileSync(this.#directory.at('units', path), text);
    }
    const output = openSync(console, 'a');
    const folders = [this.#directory.at('units'), this.#directory.at('root')];
    const child = spawn('bash', [BOOT_SCRIPT, this.#cgroup, REPOSITORY, console, ...folders], {
      stdio: ['ignore', output, output],
    });
    this.#process = child;
    closeSync(output);
    const explain = () => `systemd did not come up:\n${readFileSync(console, 'utf8')}`;
    await until(() => this.#findLeader(child) || child.exitCode !== null, BOOT_MS, explain);
    await until(
      async () => {
        if (child.exitCode !== null) throw new Error(explain());
        return (await this.run('systemctl', 'is-system-running')).out === 'running';
      },
      BOOT_MS,
      explain,
    );
  }

  /** Runs a command inside and resolves when it has ended. */
  run(...command: readonly string[]): Promise<Ran> {
    const enter = ['--target', String(this.#leader), ...NAMESPACES, 'env', '-i', `PATH=${PATH}`];
    return new Promise((resolve) => {
      execFile(
        'nsenter',
        [...enter, ...command],
        { timeout: COMMAND_MS, killSignal: 'SIGKILL' },
        (error, out, err) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
          resolve({ code, out: `${out}${code === 0 ? '' : err}`.trim() });
        },
      );
    });
  }

  /** Like `run`; rejects if the command fails. */
  async must(...command: readonly string[]): Promise<string> {
    const { code, out } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${out}`);
    return out;
  }

  async write(path: string, text: string, mode = '0644'): Promise<void> {
    const encoded = Buffer.from(text).toString('base64');
    const script = `mkdir -p "$(dirname "$1")" && echo "$2" | base64 -d > "$1" && chmod "$3" "$1"`;
    await this.must('sh', '-c', script, 'sh', path, encoded, mode);
  }

  /** What `systemctl show` says of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return this.must('systemctl', 'show', '--value', '--property', name, unit);
  }

  /** From here on the journal begins anew. */
  async turnPage(): Promise<void> {
    this.#since = await this.must('date', '+@%s.%6N');
  }

  /** Lines of the journal that match, such as `--unit=NAME`: a unit's own and systemd's about it. */
  async journal(match: string): Promise<string> {
    await this.must('journalctl', '--sync');
    return this.must('journalctl', '--no-pager', '-o', 'cat', `--since=${this.#since}`, match);
  }

  /** SIGKILL to all of it. */
  async end(): Promise<void> {
    const child = this.#process;
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    await until(() => removeCgroups(this.#cgroup));
    this.#directory.dispose();
  }

  /** The only child of `unshare`, once that has forked. */
  #findLeader({ pid }: ChildProcess): boolean {
    const file = `/proc/${pid}/task/${pid}/children`;
    if (!existsSync(file)) return false;
    this.#leader = Number(readFileSync(file, 'utf8').trim().split(' ')[0]);
    if (this.#leader === 0) return false;
    return readFileSync(`/proc/${this.#leader}/comm`, 'utf8').trim() === 'systemd';
  }
}

/** Where control groups of the second version are, beside those of the first or alone. */
function cgroupRoot(): string | null {
  const places = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'];
  return places.find((place) => existsSync(join(place, 'cgroup.procs'))) ?? null;
}

/** Whether it and all below it are gone; a group with dying processes takes a moment. */
function removeCgroups(path: string): boolean {
  if (!existsSync(path)) return true;
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) removeCgroups(join(path, entry.name));
    }
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}
