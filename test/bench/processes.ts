import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { typescript } from '../support/child.js';
import { PostgresServer } from '../support/postgres-server.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import type { Load, LoadResult } from './http-load.js';

/** The proxy under test has a core of its own; what drives it shares the other, or has two of its own. */
const PROXY_CORE = 0;
const CORES = availableParallelism();
const UPSTREAM_CORE = CORES > 1 ? 1 : 0;
const LOAD_CORE = CORES > 2 ? 2 : UPSTREAM_CORE;
/** Thousands of connections need as many descriptors, twice over in a proxy. */
const MOST_FILES = 16_384;

export const canPin = spawnSync('taskset', ['--version']).status === 0;
export const hasNginx = spawnSync('nginx', ['-v']).status === 0;

/** Something that answers HTTP on a port of loopback. */
export interface Target {
  readonly name: string;
  readonly port: number;
  /** Null where there is no proxy. */
  readonly pid: number | null;
  stop(): Promise<void>;
}

function pinned(core: number): string[] {
  return canPin ? ['taskset', '-c', String(core)] : [];
}

function limited(core: number): string[] {
  return [...pinned(core), 'sh', '-c', `ulimit -n ${MOST_FILES} 2>/dev/null; exec "$@"`, 'sh'];
}

function start(command: readonly string[]): ChildProcess {
  return spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('\n')) resolve(said.slice(0, said.indexOf('\n')));
    });
    child.once('exit', (code) => reject(new Error(`ended with ${code} and said: ${said}`)));
  });
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

async function startScript(name: string, core: number, script: string, given: string) {
  const child = start([...limited(core), ...typescript(script), given]);
  const port = Number(await firstLine(child));
  return { name, port, pid: child.pid as number, stop: () => stopChild(child) };
}

export function startUpstream(kind: 'json' | 'sse' | 'slow'): Promise<Target> {
  return startScript('direct', UPSTREAM_CORE, '../bench/canned-upstream.ts', kind);
}

export function startBareProxy(upstream: Target): Promise<Target> {
  return startScript('bare', PROXY_CORE, '../bench/bare-proxy.ts', urlOf(upstream));
}

/** One worker, keep-alive both ways, nothing buffered that need not be. */
export async function startNginx(upstream: Target): Promise<Target> {
  const directory = await mkdtemp(join(tmpdir(), 'tidegate-bench-nginx-'));
  const port = await freePort();
  const configuration = join(directory, 'nginx.conf');
  await writeFile(
    configuration,
    `daemon off; master_process off; pid ${directory}/pid; error_log /dev/null;
     worker_rlimit_nofile ${MOST_FILES};
     events { worker_connections ${MOST_FILES}; }
     http { access_log off; client_body_temp_path ${directory}; proxy_temp_path ${directory};
       fastcgi_temp_path ${directory}; uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
       upstream u { server 127.0.0.1:${upstream.port}; keepalive 256; keepalive_requests 1000000; }
       server { listen 127.0.0.1:${port} backlog=4096; keepalive_requests 1000000;
         location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
           proxy_buffering off; proxy_read_timeout 1h; } } }`,
  );
  const child = start([...limited(PROXY_CORE), 'nginx', '-c', configuration, '-p', directory]);
  const stop = async () => {
    await stopChild(child);
    await rm(directory, { recursive: true, force: true });
  };
  return { name: 'nginx', port, pid: child.pid as number, stop };
}

/** With every charge on disk, and a budget that is never in the way. */
export async function startTidegate(
  upstream: Target,
  store: 'file' | 'sqlite' | 'postgres' = 'file',
): Promise<Target> {
  const directory = await mkdtemp(join(tmpdir(), 'tidegate-bench-'));
  const database = store === 'postgres' ? await PostgresServer.start() : null;
  const tidegate = await TidegateProcess.start(
    {
      TIDEGATE_UPSTREAM: urlOf(upstream),
      TIDEGATE_STATE: database?.url() ?? `${store}:${join(directory, 'state')}`,
      TIDEGATE_BUDGET: '1000000000000',
    },
    limited(PROXY_CORE),
  );
  const stop = async () => {
    await tidegate.kill();
    await database?.stop();
    if (tidegate.err !== '') process.stderr.write(tidegate.err.slice(0, 2_000));
    await rm(directory, { recursive: true, force: true });
  };
  const { port } = new URL(tidegate.proxyUrl);
  return { name: `tidegate ${store}`, port: Number(port), pid: tidegate.child.pid as number, stop };
}

/** Sends a load to a target, and tells what it cost the target meanwhile. */
export async function drive(
  target: Target,
  load: Partial<Load>,
): Promise<LoadResult & { readonly cpuShare: number; readonly rssBytes: number }> {
  const whole = { path: '/v1/messages', bodyBytes: 2_048, rate: 0, warmUpMs: 1_000, ...load };
  const child = start([
    ...limited(LOAD_CORE),
    ...typescript('../bench/http-load.ts'),
    JSON.stringify({ ...whole, port: target.port }),
  ]);
  // Heard from the start: what a process has said that is over is gone, and a short load is over soon.
  const said = firstLine(child);
  said.catch(() => {});
  // The load's own start and end lie outside of what is measured.
  const from = (whole.durationMs ?? 0) / 10;
  let cpu = Number.NaN;
  if (target.pid !== null) {
    await sleep(500 + whole.warmUpMs + from);
    const before = cpuSeconds(target.pid);
    const began = performance.now();
    await sleep((whole.durationMs ?? 0) * 0.7);
    cpu = ((cpuSeconds(target.pid) - before) * 1000) / (performance.now() - began);
  }
  const rssBytes = target.pid === null ? 0 : rss(target.pid);
  const result = JSON.parse(await said) as LoadResult;
  await stopChild(child);
  return { ...result, cpuShare: cpu, rssBytes };
}

const TICKS_A_SECOND = 100;

/** User and system time of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

function rss(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function urlOf(upstream: Target): string {
  return `http://127.0.0.1:${upstream.port}`;
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
