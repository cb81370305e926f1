/** The command line as people meet it: built, in processes of its own, with no server anywhere. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fingerprint } from '../../src/config/fingerprint.js';
import { tidegate } from './run.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KEY = 'fingerprint-key-for-tests';
const SECRET = 'sk-ant-hunter2hunter2';

let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidegate-cli-'));
  writeFileSync(
    join(folder, 'two.yaml'),
    `
upstreams:
  - {name: plain, url: "https://api.anthropic.com", listen: "127.0.0.1:9000"}
  - name: keyed
    url: https://api.anthropic.com
    listen: 127.0.0.1:9001
    fingerprintKey: ${KEY}
`,
  );
  writeFileSync(
    join(folder, 'keys.yaml'),
    readFileSync(join(folder, 'two.yaml'), 'utf8').replace(
      'listen: "127.0.0.1:9000"',
      `listen: "127.0.0.1:9000", fingerprintKey: other-${KEY}`,
    ),
  );
});

afterAll(() => rmSync(folder, { recursive: true }));

test('what cannot be written is a fault, told in words', async () => {
  const script = 'exec "$@" >/dev/full';
  const command = [process.execPath, join(ROOT, 'dist/main.js'), 'help'];
  const child = spawn('sh', ['-c', script, 'sh', ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  expect(await once(child, 'close')).toEqual([75, null]);
  expect(err).toBe(
    'tidegate: not all that was to be printed could be written (ENOSPC).\n' +
      'What to do: see where stdout goes: is its disk full?\n',
  );
});

describe('help and version', () => {
  test('without a command it explains itself', async () => {
    const { code, out, err } = await tidegate([]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    for (const command of ['serve', 'check-config', 'fingerprint', 'help', 'version']) {
      expect(out).toContain(`\n  ${command} `);
    }
    for (const exit of ['0 ', '64', '70', '75', '78']) expect(out).toContain(`\n  ${exit}  `);
    expect(await tidegate(['--help'])).toEqual({ code, out, err });
  });

  test.each(['serve', 'check-config', 'fingerprint', 'help', 'version'])(
    'help on %s is the same by either way, and starts nothing',
    async (command) => {
      const byHelp = await tidegate(['help', command]);
      expect(byHelp).toMatchObject({ code: 0, err: '' });
      expect(byHelp.out).toMatch(new RegExp(`^Usage: tidegate ${command}`));
      expect(await tidegate([command, '--help'])).toEqual(byHelp);
    },
  );

  test('help on the settings has all of them', async () => {
    const { code, out } = await tidegate(['help', 'settings']);
    expect(code).toBe(0);
    expect(out).toContain('\nTIDEGATE_CONFIG\n');
    expect(out).toContain('\nTIDEGATE_MIN_USED [minUsed]\n');
    expect(out).not.toContain('undefined');
  });

  test('the version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      version: string;
    };
    const expected = { code: 0, out: `${version}\n`, err: '' };
    expect(await tidegate(['version'])).toEqual(expected);
    expect(await tidegate(['--version'])).toEqual(expected);
  });
});

describe('a wrong command line exits with 64 and says so on stderr', () => {
  test.each([
    [['serv'], '"serv" is not a command. Did you mean "serve"?'],
    [['--verson'], '"--verson" is not an option. Did you mean "--version"?'],
    [['xyzzy'], '"xyzzy" is not a command.\n'],
    [['serve', 'now'], '"now" is one word too many.'],
    [['serve', '--port=1'], '--port is not an option here.\n'],
    [['check-config', '--jsn'], '--jsn is not an option here. Did you mean "--json"?'],
    [['check-config', '--json=1'], "Option '--json' does not take an argument."],
    [['fingerprint', '--upstream'], "Option '--upstream <value>' argument missing."],
    [['help', 'serv'], 'There is no help on "serv". Did you mean "serve"?'],
    [['version', 'x'], '"x" is one word too many.'],
  ])('%j', async (args, text) => {
    const { code, out, err } = await tidegate(args);
    expect({ code, out }).toEqual({ code: 64, out: '' });
    expect(err).toContain(`tidegate: ${text}`);
    expect(err).not.toContain('    at ');
  });
});

describe('check-config', () => {
  test('shows what is in effect and what was set, with warnings apart', async () => {
    const env = { TIDEGATE_BUDGET: '1_000_000', TIDEGATE_LISTN: 'x', TIDEGATE_INSTANCE: 'i' };
    const { code, out, err } = await tidegate(['check-config'], { env, cwd: folder });
    expect(code).toBe(0);
    expect(out).toContain('tokens: 1_000_000 tokens in a fixed window of 5h\n');
    expect(out).toContain(`file:${folder}/data/state.json\n`);
    expect(out).toContain('Set; all else is default:\n  TIDEGATE_BUDGET\n  TIDEGATE_INSTANCE\n');
    expect(err).toBe(
      'tidegate: warning: TIDEGATE_LISTN: is not a setting of this version and has no effect. Did you mean TIDEGATE_LISTEN?\n',
    );
  });

  test('names every mistake and exits with 78', async () => {
    const env = { TIDEGATE_WINDOW: '5 hours', TIDEGATE_ADMIN_TOKEN: 'short' };
    const { code, out, err } = await tidegate(['check-config'], { env });
    expect({ code, out }).toEqual({ code: 78, out: '' });
    expect(err).toBe(`\
tidegate: there are 2 mistakes in the configuration
  TIDEGATE_ADMIN_TOKEN: the value (not shown) is shorter than 16 characters. Allowed: 16 to 256 visible ASCII characters, no spaces; example: what "openssl rand -hex 24" prints
  TIDEGATE_WINDOW: "5 hours" is not a duration; did you mean "5h"? Allowed: a whole number with ms, s, m, h or d, from 1s to 366d; example: 5h
What can be set: tidegate help settings
`);
  });

  test('one mistake is "a mistake"', async () => {
    const { err } = await tidegate(['check-config'], { env: { TIDEGATE_TICK: 'x' } });
    expect(err).toMatch(/^tidegate: there is a mistake in the configuration\n/);
  });

  test('--json is data on stdout, without secrets', async () => {
    const env = { TIDEGATE_ADMIN_TOKEN: SECRET, TIDEGATE_TICK: '5s', TIDEGATE_LISTN: 'x' };
    const { code, out, err } = await tidegate(['check-config', '--json'], { env });
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).not.toContain(SECRET);
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      config: {
        tickMs: 5_000,
        admin: { token: '(hidden)' },
        upstreams: [{ name: 'anthropic', url: 'https://api.anthropic.com' }],
      },
      set: ['TIDEGATE_ADMIN_TOKEN', 'TIDEGATE_TICK'],
      warnings: [expect.stringContaining('TIDEGATE_LISTN')],
    });
  });

  test('--json has the mistakes as data, and the exit code is the same', async () => {
    writeFileSync(join(folder, 'bad.yaml'), 'tick: soon\n');
    const env = { TIDEGATE_CONFIG: 'bad.yaml' };
    const { code, out } = await tidegate(['check-config', '--json'], { env, cwd: folder });
    expect(code).toBe(78);
    expect(JSON.parse(out)).toEqual({
      ok: false,
      problems: [
        {
          name: 'tick',
          at: 'bad.yaml:1',
          given: 'soon',
          message: 'is not a duration',
          allowed: 'a whole number with ms, s, m, h or d, from 10ms to 1h',
          example: '1m',
        },
      ],
      warnings: [],
    });
  });
});

test('serve refuses a wrong configuration with 78 before it loads a server', async () => {
  const { code, out, err } = await tidegate(['serve'], { env: { TIDEGATE_TICK: 'x' } });
  expect({ code, out }).toEqual({ code: 78, out: '' });
  expect(err).toContain('TIDEGATE_TICK: "x" is not a duration.');
});

describe('fingerprint', () => {
  const two = { env: { TIDEGATE_CONFIG: 'two.yaml' } };
  const keys = { env: { TIDEGATE_CONFIG: 'keys.yaml' } };

  test.each([`${SECRET}\n`, `  ${SECRET}`, `Bearer ${SECRET}\r\n`])(
    'of %j is that of the credential the proxy sees',
    async (input) => {
      const ended = await tidegate(['fingerprint'], { ...two, cwd: folder, input });
      expect(ended).toEqual({ code: 0, out: `${fingerprint(KEY, SECRET)}\n`, err: '' });
    },
  );

  test('--upstream says whose key', async () => {
    const args = ['fingerprint', '--upstream', 'plain'];
    const { out } = await tidegate(args, { ...keys, cwd: folder, input: SECRET });
    expect(out).toBe(`${fingerprint(`other-${KEY}`, SECRET)}\n`);
  });

  test.each([
    [keys, [], SECRET, "Say which upstream's key: --upstream with one of plain, keyed"],
    [two, ['--upstream', 'plain'], SECRET, 'The upstream plain has no fingerprintKey.'],
    [two, ['--upstream', 'keyd'], SECRET, 'There is no upstream "keyd". Did you mean "keyed"?'],
    [{}, [], SECRET, 'No upstream has a fingerprintKey.'],
    [two, [], ' \n', 'There is no credential on stdin.'],
    [two, [], `${SECRET}\n${SECRET}`, 'There is more than one word on stdin.'],
    [two, [], SECRET.repeat(2_000), 'There is far more on stdin than one credential.'],
  ])('%# is refused with 64', async (around, args, input, text) => {
    const ended = await tidegate(['fingerprint', ...args], { ...around, cwd: folder, input });
    expect({ code: ended.code, out: ended.out }).toEqual({ code: 64, out: '' });
    expect(ended.err).toContain(`tidegate: ${text}`);
    expect(ended.err).not.toContain(SECRET);
  });

  test('needs a valid configuration', async () => {
    const env = { TIDEGATE_TICK: 'x' };
    expect(await tidegate(['fingerprint'], { env, input: SECRET })).toMatchObject({
      code: 78,
      out: '',
    });
  });
});

describe('the entry', () => {
  const MAIN = join(ROOT, 'dist/main.js');

  /** Makes a process believe that it runs on another Node.js. */
  function pretend(version: string): readonly string[] {
    const versions = `{ ...process.versions, node: ${JSON.stringify(version)} }`;
    const script =
      `Object.defineProperty(process, 'versions', { value: ${versions} });` +
      `Object.defineProperty(process, 'version', { value: ${JSON.stringify(`v${version}`)} });`;
    return ['--import', `data:text/javascript,${encodeURIComponent(script)}`];
  }

  test.each(['12.22.12', '20.20.2', '22.18.0'])(
    'Node.js %s is told what to do',
    async (version) => {
      const { code, out, err } = await tidegate(['serve'], { node: pretend(version) });
      expect({ code, out }).toEqual({ code: 78, out: '' });
      expect(err).toBe(
        `tidegate needs Node.js 22.19 or newer; this is v${version} (${process.execPath}). ` +
          'What to do: install Node.js 24, or in a checkout use "npm start", ' +
          'which runs on the Node.js 24 that "npm install" has put beside it.\n',
      );
    },
  );

  test.each(['22.19.0', '24.0.0', '25.1.0'])('Node.js %s is new enough', async (version) => {
    expect(await tidegate(['version'], { node: pretend(version) })).toMatchObject({
      code: 0,
      err: '',
    });
  });

  test('has a shebang, and no syntax that Node.js 12 could not parse', () => {
    const source = readFileSync(MAIN, 'utf8');
    expect(source).toMatch(/^#!\/usr\/bin\/env node\n/);
    // Optional chaining, `??`, logical assignment, private names, static imports, await, separators.
    expect(source).not.toMatch(/\?\.[a-z[(]|\?\?|\|\|=|&&=|\.#|^\s*#\w|^import |\bawait\b|\d_\d/m);
    expect(source).toContain("import('./cli/cli.js')");
  });

  test('a reader that leaves early is no fault', async () => {
    const child = spawn(process.execPath, [MAIN, 'help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    // Closed long before the process has come so far as to write.
    child.stdout.destroy();
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    const [code] = (await once(child, 'close')) as [number | null];
    expect({ code, err }).toEqual({ code: 0, err: '' });
  });
});
