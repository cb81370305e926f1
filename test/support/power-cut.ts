import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const COMMAND_MS = 20_000;

/**
 * A disk of its own that loses, at `cut`, everything that was not flushed, as at a power cut: an ext4
 * file system in a file, shut down without writing back. Needs root and loop devices.
 */
export class LoopDisk {
  readonly mount: string;
  readonly #image: string;

  private constructor(directory: string) {
    this.#image = join(directory, 'disk');
    this.mount = join(directory, 'mount');
  }

  /** Null where the machine does not let us, and why. */
  static make(directory: string): LoopDisk | string {
    const disk = new LoopDisk(directory);
    writeFileSync(disk.#image, '');
    truncateSync(disk.#image, 16 * 1024 * 1024);
    mkdirSync(disk.mount);
    const faults = [run('mkfs.ext4', '-q', '-F', disk.#image), disk.#attach()];
    return faults.find((fault) => fault !== null) ?? disk;
  }

  /** What is open on it fails from now on. */
  cut(): void {
    const program =
      'open(F, "<", $ARGV[0]) or die; my $f = pack("L", 2); ioctl(F, 0x8004587D, $f) or die';
    must(run('perl', '-e', program, this.mount));
  }

  /** After a cut, and when nothing on it is open any more: the disk as it is found. */
  restore(): void {
    this.detach();
    must(this.#attach());
  }

  detach(): void {
    must(run('umount', this.mount));
  }

  #attach(): string | null {
    return run('mount', '-o', 'loop', this.#image, this.mount);
  }
}

function run(program: string, ...parameters: string[]): string | null {
  const { status, error, stderr } = spawnSync(program, parameters, {
    encoding: 'utf8',
    timeout: COMMAND_MS,
    killSignal: 'SIGKILL',
  });
  return status === 0 ? null : `${program}: ${error?.message ?? stderr.trim()}`;
}

function must(fault: string | null): void {
  if (fault !== null) throw new Error(fault);
}
