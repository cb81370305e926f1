import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DCLinter } from 'dclint';
import { DockerfileParser, type Instruction } from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { AFTER_DRAIN_MS } from '../../src/data-plane.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { complaints, drainSeconds } from './environment.js';

const ROOT = resolve(import.meta.dirname, '../..');
const DOCKER = join(ROOT, 'ops/docker');
const DOCKERFILE = readFileSync(join(DOCKER, 'Dockerfile'), 'utf8');
const COMPOSE = readFileSync(join(DOCKER, 'compose.yaml'), 'utf8');
const HEALTHCHECK = join(DOCKER, 'healthcheck.mjs');

describe('the Dockerfile', () => {
  const instructions = DockerfileParser.parse(DOCKERFILE).getInstructions();
  const all = (keyword: string) =>
    instructions.filter((instruction) => instruction.getKeyword() === keyword);
  const lastOf = (keyword: string) => all(keyword).at(-1)?.getArgumentsContent() ?? '';

  it('passes the linter', () => {
    expect(validate(DOCKERFILE).map(({ message }) => message)).toEqual([]);
    const broken = DOCKERFILE.replace('--retries=', '--tries=').replace('EXPOSE 8787', 'EXPOSE x');
    expect(validate(broken), 'control').toHaveLength(2);
  });

  it('copies only what is there and what .dockerignore lets through', () => {
    const allowed = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    // What begins with a slash comes out of the build, not from here.
    const sources = all('COPY')
      .flatMap(argumentsOf)
      .filter((path) => !path.startsWith('/'));
    expect(sources.length).toBeGreaterThan(6);
    expect(sources.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    expect(sources.toSorted()).toEqual([...allowed, 'package.json'].toSorted());
  });

  it('runs as a numbered user, without npm and without a shell between', () => {
    expect(lastOf('USER')).toBe('1000:1000');
    expect(JSON.parse(lastOf('ENTRYPOINT'))).toEqual(['node', '/tidegate/dist/main.js']);
    expect(JSON.parse(lastOf('CMD'))).toEqual(['serve']);
    expect(lastOf('RUN')).toContain('/usr/local/bin/npm');
    expect(lastOf('STOPSIGNAL')).toBe('SIGTERM');
    expect(lastOf('HEALTHCHECK')).toContain('/tidegate/healthcheck.mjs');
  });

  it('starts with settings that Tidegate takes, its state on the volume', () => {
    const environment = environmentOf(lastOf('ENV'));
    expect(complaints(environment)).toEqual([]);
    expect(environment['TIDEGATE_STATE']).toBe(`file:${lastOf('VOLUME')}/state.json`);
    expect(environment['TIDEGATE_LISTEN']).toBe('0.0.0.0:8787');
    expect(environment['TIDEGATE_ADMIN_LISTEN'], 'which stays on loopback').toBeUndefined();
    expect(lastOf('EXPOSE')).toBe('8787 8788');
  });
});

describe('the compose file', () => {
  const compose = parse(COMPOSE) as Compose;
  const { tidegate, postgres } = compose.services;
  let directory: TemporaryDirectory;

  beforeEach(() => {
    directory = new TemporaryDirectory();
  });

  afterEach(() => directory.dispose());

  function lint(text: string): string[] {
    writeFileSync(directory.at('compose.yaml'), text);
    const linter = new DCLinter({
      rules: {
        // The image gets its name from the build, so that both are meant.
        'no-build-and-image': 0,
        'require-quotes-in-ports': [1, { quoteType: 'double' }],
      },
      quiet: false,
      debug: false,
      exclude: [],
    });
    const results: readonly LintResult[] = linter.lintFiles([directory.at('compose.yaml')], false);
    return results.flatMap(({ messages }) => messages.map(({ message }) => message));
  }

  it('passes the linter', () => {
    expect(lint(COMPOSE)).toEqual([]);
    expect(lint(COMPOSE.replace('read_only:', 'readonly:')), 'control').not.toEqual([]);
  });

  it('starts with settings that Tidegate takes without a complaint', () => {
    const { TIDEGATE_STATE: state, ...others } = tidegate.environment;
    const environment = Object.fromEntries(
      Object.entries(others).map(([name, value]) => [
        name,
        value.replace(/\$\{.*\}/, 'a-token-of-sixteen-or-more'),
      ]),
    );
    expect(complaints(environment)).toEqual([]);
    const { POSTGRES_USER: user, POSTGRES_DB: database } = postgres.environment;
    expect(state).toBe(
      `postgres://${user}:\${POSTGRES_PASSWORD:?is missing in .env}@postgres:5432/${database}`,
    );
  });

  it('gives a stop the time for the drain', () => {
    const [, seconds] = /^(\d+)s$/.exec(tidegate.stop_grace_period) ?? [];
    expect(Number(seconds)).toBeGreaterThanOrEqual(
      drainSeconds(tidegate.environment) + AFTER_DRAIN_MS / 1_000,
    );
  });

  it('publishes on loopback only, and may do as little as a container can', () => {
    expect(tidegate.ports).toEqual(['127.0.0.1:8787:8787', '127.0.0.1:8788:8788']);
    expect(postgres.ports).toBeUndefined();
    expect(tidegate).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
  });

  it('builds the image of this version from the Dockerfile, out of the whole repository', () => {
    const { build, image } = tidegate;
    expect(resolve(DOCKER, build.context)).toBe(ROOT);
    expect(resolve(ROOT, build.dockerfile)).toBe(join(DOCKER, 'Dockerfile'));
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(image).toBe(`tidegate:${version}`);
  });

  it('keeps what Postgres knows on a named volume', () => {
    expect(postgres.volumes).toEqual(['postgres:/var/lib/postgresql']);
    expect(Object.keys(compose.volumes)).toEqual(['postgres']);
    expect(tidegate.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
  });
});

describe('the health check', () => {
  it('is content with a Tidegate that lives, wherever its control plane listens, and only then', async () => {
    const directory = new TemporaryDirectory();
    const tidegate = await TidegateProcess.start({
      TIDEGATE_STATE: `file:${directory.at('state.json')}`,
      TIDEGATE_ADMIN_LISTEN: '0.0.0.0:0',
      TIDEGATE_ADMIN_TOKEN: 'a-token-of-sixteen-or-more',
    });
    const { port } = new URL(tidegate.controlUrl);
    const check = () =>
      spawnSync(process.execPath, [HEALTHCHECK], {
        env: { TIDEGATE_ADMIN_LISTEN: `0.0.0.0:${port}` },
        timeout: 10_000,
      }).status;
    expect(check()).toBe(0);
    await tidegate.kill();
    expect(check()).toBe(1);
    directory.dispose();
  });
});

interface LintResult {
  readonly messages: readonly { readonly message: string }[];
}

interface Compose {
  readonly services: {
    readonly tidegate: Service & {
      readonly build: { readonly context: string; readonly dockerfile: string };
      readonly stop_grace_period: string;
    };
    readonly postgres: Service;
  };
  readonly volumes: Readonly<Record<string, unknown>>;
}

interface Service {
  readonly image: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: unknown;
}

/** Without the destination, which comes last. */
function argumentsOf(copy: Instruction): readonly string[] {
  return copy
    .getArguments()
    .map((argument) => argument.getValue())
    .slice(0, -1);
}

function environmentOf(assignments: string): Record<string, string> {
  const pairs = assignments.replaceAll('\\\n', ' ').trim().split(/\s+/);
  return Object.fromEntries(pairs.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
}
