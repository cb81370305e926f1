import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/until.js';

/**
 * The image, built for real and run with what a container runtime gives it: a root file system of its
 * own that is read-only, its user, PID 1. It takes a minute, root, buildah, the base image and a
 * package registry, so it runs only when it is asked for.
 */
const ASKED = process.env['TIDEGATE_TEST_IMAGE'] === '1';
if (!ASKED) console.warn('left out: building the image; TIDEGATE_TEST_IMAGE=1 asks for it');

const ROOT = resolve(import.meta.dirname, '../..');
const BUILD_MS = 600_000;
/** Arguments: the root file system, then the command. */
const CONTAIN = `
  root=$1; shift
  mount --bind "$root" "$root"
  mount -o remount,bind,ro "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o uid=1000,gid=1000,mode=0700 state "$root/var/lib/tidegate"
  exec chroot --userspec=1000:1000 "$root" env -i "$@"
`;

describe.skipIf(!ASKED)('the image', { timeout: 60_000 }, () => {
  let container = '';
  let root = '';
  let image: {
    readonly User: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Cmd: readonly string[];
    readonly Healthcheck: { readonly Test: readonly string[] };
  };

  beforeAll(() => {
    const name = `localhost/tidegate-test:${process.pid}`;
    const file = join(ROOT, 'ops/docker/Dockerfile');
    const isolation = ['--isolation=chroot', '--network=host', '--format=docker'];
    buildah('build', ...isolation, '--file', file, '--tag', name, ROOT);
    container = buildah('from', name);
    root = buildah('mount', container);
    const inspected = JSON.parse(buildah('inspect', '--type=image', name)) as {
      Docker: { config: typeof image };
    };
    image = inspected.Docker.config;
  }, BUILD_MS);

  afterAll(() => {
    if (container === '') return;
    buildah('rm', container);
    buildah('rmi', `localhost/tidegate-test:${process.pid}`);
  });

  it('holds what runs and nothing else', () => {
    expect(readdirSync(join(root, 'tidegate')).toSorted()).toEqual([
      'LICENSE',
      'dist',
      'healthcheck.mjs',
      'node_modules',
      'package.json',
    ]);
    const modules = readdirSync(join(root, 'tidegate/node_modules'));
    expect(modules).toContain('undici');
    expect(modules.filter((name) => ['typescript', 'vitest', 'node'].includes(name))).toEqual([]);
    expect(existsSync(join(root, 'usr/local/bin/npm'))).toBe(false);
  });

  it('serves on a read-only root as its user and PID 1, is healthy, and stops cleanly', async () => {
    expect(image.User).toBe('1000:1000');
    const settings = ['TIDEGATE_LISTEN=127.0.0.1:0', 'TIDEGATE_ADMIN_LISTEN=127.0.0.1:0'];
    const command = [...image.Env, ...settings, ...image.Entrypoint, ...image.Cmd];
    const namespaces = ['--mount', '--pid', '--fork', '--kill-child'];
    const child = spawn('unshare', [...namespaces, 'sh', '-ec', CONTAIN, 'sh', root, ...command]);
    let out = '';
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (out += text.toString()));
    const ended = new Promise((exit) => child.once('exit', (code) => exit(code)));
    await until(
      () => out.includes('Point an agent'),
      20_000,
      () => out,
    );

    const children = `/proc/${child.pid}/task/${child.pid}/children`;
    const leader = Number(readFileSync(children, 'utf8').trim());
    expect(readFileSync(`/proc/${leader}/status`, 'utf8')).toMatch(/^Uid:\s+1000\s+1000/m);
    expect(existsSync(`/proc/${leader}/root/var/lib/tidegate/state.json`)).toBe(true);

    const [, port] = /control\s+http:\S+:(\d+)/.exec(out) ?? [];
    const [kind, ...check] = image.Healthcheck.Test;
    expect(kind).toBe('CMD');
    const listen = `TIDEGATE_ADMIN_LISTEN=127.0.0.1:${port}`;
    const checked = spawnSync('chroot', [root, 'env', '-i', ...image.Env, listen, ...check]);
    expect(checked.status).toBe(0);

    process.kill(leader, 'SIGTERM');
    expect(await ended, out).toBe(0);
  });
});

function buildah(...command: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('buildah', command, {
    encoding: 'utf8',
    timeout: BUILD_MS,
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`buildah ${command[0]} ended with ${status}: ${stderr}`);
  return stdout.trim();
}
