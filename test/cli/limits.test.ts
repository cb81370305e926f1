import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fetchGroups } from '../../src/cli/limits-api.js';
import { mergeLimits } from '../../src/cli/limits-file.js';
import { run as importLimits } from '../../src/cli/limits-import.js';
import { readProviderLimits } from '../../src/cli/provider-limits.js';
import { terminalOf } from '../../src/cli/terminal.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { tidegate } from './run.js';

const KEY = 'sk-ant-admin01-secret';

/** The shape of the API's documentation; the second entry as it was before `group` came. */
const OPUS = {
  id: 'rl_1',
  type: 'rate_limit',
  group: { id: 'rlg_1', type: 'model_group', display_name: 'Claude Opus 4.x' },
  models: ['claude-opus-4-8', 'claude-opus-4-5-20251101', 'claude-opus-4-5'],
  limits: [
    { type: 'requests_per_minute', value: 4_000 },
    { type: 'input_tokens_per_minute_cache_aware', value: 2_000_000 },
    { type: 'output_tokens_per_minute', value: 400_000 },
    { type: 'fast_otpm', value: 10_000 },
  ],
};
const HAIKU = {
  group_type: 'model_group',
  models: ['claude-haiku-4-5', 'claude-haiku-4-5-20251001'],
  limits: [
    { type: 'input_tokens_per_minute', value: 50_000 },
    { type: 'output_tokens_per_minute', value: 10_000 },
    { type: 'tokens_per_day', value: 5_000_000 },
    { type: 'something_new', value: 5 },
  ],
};
const BATCH = { group_type: 'batch', models: null, limits: [{ type: 'enqueued', value: 1 }] };

let directory: TemporaryDirectory;
let server: Server;
let asked: IncomingMessage[];
/** What the fake API answers, in order; the last one again and again. */
let answers: { readonly status: number; readonly body: unknown }[];

beforeEach(async () => {
  directory = new TemporaryDirectory();
  asked = [];
  answers = [{ status: 200, body: { data: [OPUS, HAIKU, BATCH], next_page: null } }];
  server = createServer((request, response) => {
    asked.push(request);
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    response.writeHead(answer?.status ?? 500, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer?.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  directory.dispose();
});

const api = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const env = { ANTHROPIC_ADMIN_KEY: KEY };

function run(args: readonly string[], around: Parameters<typeof tidegate>[1] = { env }) {
  return tidegate(['limits', 'import', '--api', api(), ...args], around);
}

describe('tidegate limits import', () => {
  it('prints the limits as YAML that the configuration takes, and what it leaves out', async () => {
    const { code, out, err } = await run([]);
    expect(code).toBe(0);
    expect(out).toBe(`limits:
  # Claude Opus 4.x
  - name: claude-opus-4.x/requests
    unit: requests
    kind: bucket
    window: 1m
    budget: 4000
    models: [claude-opus-4-8, claude-opus-4-5-20251101, claude-opus-4-5]
  # Claude Opus 4.x
  - name: claude-opus-4.x/input_tokens
    unit: input_tokens
    kind: bucket
    window: 1m
    budget: 2000000
    models: [claude-opus-4-8, claude-opus-4-5-20251101, claude-opus-4-5]
  # Claude Opus 4.x
  - name: claude-opus-4.x/output_tokens
    unit: output_tokens
    kind: bucket
    window: 1m
    budget: 400000
    models: [claude-opus-4-8, claude-opus-4-5-20251101, claude-opus-4-5]
  # claude-haiku
  - name: claude-haiku/output_tokens
    unit: output_tokens
    kind: bucket
    window: 1m
    budget: 10000
    models: [claude-haiku-4-5, claude-haiku-4-5-20251001]
  # claude-haiku
  - name: claude-haiku/tokens-1d
    unit: tokens
    kind: bucket
    window: 1d
    budget: 5000000
    models: [claude-haiku-4-5, claude-haiku-4-5-20251001]
`);
    expect(err.split('\n')).toEqual([
      expect.stringContaining('Claude Opus 4.x, fast_otpm: fast requests have a pool'),
      expect.stringContaining('claude-haiku, input_tokens_per_minute: it counts what is read'),
      expect.stringContaining('claude-haiku, something_new: Tidegate does not count it'),
      expect.stringContaining('batch: it is not about models'),
      '',
    ]);
    const upstream = `  - url: https://api.anthropic.com\n    ${out.replaceAll('\n', '\n    ').trim()}\n`;
    const file = join(directory.path, 'tidegate.yaml');
    writeFileSync(file, `upstreams:\n${upstream}`);
    const checked = await tidegate(['check-config'], { env: { TIDEGATE_CONFIG: file } });
    expect(checked).toMatchObject({ code: 0, err: '' });
  });

  it('takes the key from stdin too, sends it in one header, and follows pages', async () => {
    answers = [
      { status: 200, body: { data: [OPUS], next_page: 'page 2' } },
      { status: 200, body: { data: [HAIKU], next_page: null } },
    ];
    const { code, out, err } = await run(['--model', 'claude-haiku-4-5'], { input: `${KEY}\n` });
    expect(code).toBe(0);
    expect(out).not.toContain('opus');
    expect(out).toContain('claude-haiku/output_tokens');
    expect(asked.map(({ url }) => url)).toEqual([
      '/v1/organizations/rate_limits',
      '/v1/organizations/rate_limits?page=page+2',
    ]);
    expect(asked[0]?.headers).toMatchObject({ 'x-api-key': KEY });
    expect(out + err).not.toContain('secret');
  });

  it('flushes the file and its directory: a power cut leaves the old file or the new one', async () => {
    const handle = await open(join(directory.path, 'any'), 'w');
    await handle.close();
    const flushed = vi.spyOn(Object.getPrototypeOf(handle), 'sync');
    const stream = { on: () => {}, write: () => true };
    const streams = { stdin: {}, stdout: stream, stderr: stream } as unknown as NodeJS.Process;
    const args = ['--api', api(), '--model', 'claude-opus-4-8', '--write', 'tidegate.yaml'];
    expect(await importLimits(args, terminalOf(env, directory.path, streams))).toBe(0);
    expect(flushed).toHaveBeenCalledTimes(2);
    flushed.mockRestore();
  });

  it('writes into a file, keeps its comments and every tighter budget, and its rights', async () => {
    const file = join(directory.path, 'tidegate.yaml');
    const before = `# Ours.
state: file:./state.json # here
upstreams:
  - name: keys
    url: https://api.anthropic.com
    limits:
      # As agreed with finance.
      - name: claude-opus-4.x/input_tokens
        unit: input_tokens
        kind: fixed
        window: 1m
        budget: 500_000
        models: [claude-opus-4-8, claude-opus-4-5-20251101, claude-opus-4-5]
      - name: claude-opus-4.x/output_tokens
        unit: output_tokens
        window: 1m
        budget: 900_000 # too much
        models: "claude-opus-*"
`;
    writeFileSync(file, before);
    chmodSync(file, 0o640);
    const args = ['--model', 'claude-opus-4-8', '--write', 'tidegate.yaml'];
    const { code, out, err } = await run(args, { env, cwd: directory.path });
    expect(err).not.toContain('What to do');
    expect(code).toBe(0);
    const after = readFileSync(file, 'utf8');
    expect(after).toContain('# Ours.\nstate: file:./state.json # here\n');
    expect(after).toContain('# As agreed with finance.\n');
    expect(after).toContain('budget: 500_000\n');
    expect(after).toContain('kind: fixed\n');
    expect(after).toContain('budget: 400000 # too much\n');
    expect(after).toContain('budget: 4000\n');
    expect(out.trim().split('\n')).toEqual([
      'claude-opus-4.x/requests: new, 4000',
      "claude-opus-4.x/input_tokens: keeps its budget 500000, tighter than the provider's 2000000",
      'claude-opus-4.x/output_tokens: its budget is 400000 now, and was 900_000',
      'claude-opus-4.x/output_tokens: its models are those of the provider now',
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    const again = await run(args, { env, cwd: directory.path });
    expect(again).toMatchObject({ code: 0, out: 'tidegate.yaml has these limits already.\n' });
    expect(readFileSync(file, 'utf8')).toBe(after);
  });

  it('makes a file that is not there, and leaves one that has mistakes as it was', async () => {
    const args = ['--model', 'claude-opus-4-8', '--write', 'new.yaml'];
    expect(await run(args, { env, cwd: directory.path })).toMatchObject({ code: 0 });
    const made = readFileSync(join(directory.path, 'new.yaml'), 'utf8');
    expect(made).toContain('url: https://api.anthropic.com\n');
    const file = join(directory.path, 'bad.yaml');
    const bad = 'upstreams:\n  - url: https://api.anthropic.com\n    timeout: long\n';
    writeFileSync(file, bad);
    const told = await run([...args.slice(0, 3), 'bad.yaml'], { env, cwd: directory.path });
    expect(told.code).toBe(78);
    expect(told.err).toContain('timeout');
    expect(readFileSync(file, 'utf8')).toBe(bad);
  });

  it.each([
    [401, 78, 'Admin key that is still valid'],
    [403, 78, 'an ordinary API key is not enough'],
    [404, 78, 'individual accounts have none'],
    [429, 75, 'in a minute'],
    [302, 78, 'no redirect is followed'],
    [503, 75, 'try again later'],
  ])('says what to do when the API answers %d', async (status, code, hint) => {
    answers = [{ status, body: { error: { message: `who is ${KEY}?` } } }];
    const fetched = await fetchGroups(new URL(api()), KEY);
    expect(fetched).toMatchObject({ ok: false, code, hint: expect.stringContaining(hint) });
    expect(JSON.stringify(fetched)).not.toContain('secret');
  });

  it('says what to do with no answer, a strange one, no limits, and no key', async () => {
    answers = [{ status: 200, body: 'hello' }];
    const strange = await fetchGroups(new URL(api()), KEY);
    expect(strange).toMatchObject({ message: expect.stringContaining('is no list of limits') });
    answers = [{ status: 200, body: { data: [BATCH] } }];
    asked = [];
    const none = await run([]);
    expect(none).toMatchObject({ code: 78, out: '' });
    expect(none.err).toContain('there are no limits to import');
    const nobody = ['limits', 'import', '--api', 'http://127.0.0.1:1'];
    const silent = await tidegate(nobody, { env });
    expect(silent.code).toBe(75);
    expect(silent.err).toContain("127.0.0.1:1 can't be reached (ECONNREFUSED)");
    expect(silent.err).not.toContain('secret');
    const keyless = await tidegate(nobody);
    expect(keyless.code).toBe(64);
    expect(keyless.err).toContain('There is no Admin key');
    const clear = await tidegate(['limits', 'import', '--api', 'http://example.com'], { env });
    expect(clear).toMatchObject({ code: 64 });
  });
});

describe('limits of a provider', () => {
  const models = Array.from({ length: 20 }, (_, index) => `claude-${index}`);
  const limits = [{ type: 'requests_per_minute', value: 5 }];

  it('of more models than an entry takes are left out, unless dated names go together', () => {
    const dated = models
      .slice(0, 6)
      .flatMap((model) => [model, `${model}-20251101`, `${model}-20260101`]);
    const read = readProviderLimits(
      [
        { models, limits },
        { models: dated, limits },
      ],
      [],
    );
    expect(read.leftOut).toEqual([expect.stringContaining('20 models, and an entry takes 16')]);
    expect(read.limits).toMatchObject([{ name: 'claude/requests', budget: 5 }]);
    expect(read.limits[0]?.models).toContain('claude-3-20*');
  });

  it('have names of their own, and only values that are budgets', () => {
    const group = { display_name: 'Ünique / Model', type: 'model_group' };
    const entry = (value: unknown) => ({
      group,
      models: ['m'],
      limits: [{ type: 'requests_per_minute', value }],
    });
    const read = readProviderLimits([entry(5), entry(6), entry(0), entry('7'), null, 5], []);
    expect(read.limits.map(({ name }) => name)).toEqual([
      'nique-model/requests',
      'nique-model-2/requests',
    ]);
    expect(read.leftOut).toHaveLength(2);
  });

  const [limit] = readProviderLimits([{ models: ['m'], limits }], []).limits;

  it.each([
    ['budget: 5\n', /has budget at its top/],
    ['upstreams: [{name: a}, {name: b}]', /has 2 upstreams/],
    ['upstreams: [{name: a, limits: 5}]', /is not a list/],
    ['- a', /holds no settings/],
    ['a: [', /not valid YAML/],
    [`upstreams: [{limits: [${Array.from({ length: 8 }, () => '{name: x}').join()}]}]`, /9 limits/],
  ])('are not put into a file where they have no place: %s', (text, message) => {
    const merged = mergeLimits(text, [limit!], null);
    expect(merged.ok ? '' : merged.message).toMatch(message);
  });
});
