import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/cli/exit-codes.js';
import { SETTINGS } from '../../src/config/settings.js';
import { AFTER_DRAIN_MS } from '../../src/data-plane.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { GUIDE, GUIDE_DROP_INS } from './guide.js';

const ROOT = resolve(import.meta.dirname, '../..');
const SHIPPED = join(ROOT, 'ops/systemd');
const UNIT = readFileSync(join(SHIPPED, 'tidegate.service'), 'utf8');
/** Exposure, 0 to 10, times ten. */
const MOST_EXPOSED = 20;

const ANALYZER = analyzerVersion();
if (ANALYZER < 250) console.warn('left out: systemd-analyze on the unit; it is missing or too old');

/** Section, key and value of each line. */
function linesOf(unit: string): readonly (readonly [string, string, string])[] {
  let section = '';
  return unit.split('\n').flatMap((line) => {
    const heading = /^\[(\w+)\]$/.exec(line);
    if (heading !== null) section = heading[1]!;
    const pair = /^(\w+)=(.*)$/.exec(line);
    return pair === null ? [] : [[section, pair[1]!, pair[2]!] as const];
  });
}

function valueOf(section: string, key: string): string | undefined {
  return linesOf(UNIT).find(([inSection, name]) => inSection === section && name === key)?.[2];
}

describe('the shipped unit', () => {
  it.each([
    ['Unit', 'StartLimitIntervalSec', '300'],
    ['Unit', 'StartLimitBurst', '5'],
    ['Service', 'Type', 'notify'],
    ['Service', 'Restart', 'on-failure'],
    ['Service', 'RestartSec', '10'],
    ['Service', 'RestartPreventExitStatus', String(EXIT.config)],
    ['Service', 'LimitCORE', '0'],
  ])('has in [%s] %s=%s', (section, key, value) => {
    expect(valueOf(section, key)).toBe(value);
  });

  it('gives a stop more time than the default drain and what follows it', () => {
    const drain = SETTINGS.drain.parser.parse(SETTINGS.drain.absent.text);
    if (!drain.ok) throw new Error('the default drain can’t be read');
    const stopMs = Number(valueOf('Service', 'TimeoutStopSec')) * 1_000;
    expect(stopMs).toBeGreaterThanOrEqual(drain.value + AFTER_DRAIN_MS);
  });

  it('is explained line by line in the guide', () => {
    const keys = linesOf(UNIT)
      .filter(([section]) => section !== 'Install')
      .map(([, key]) => key)
      .filter((key) => key !== 'Description' && key !== 'Documentation');
    expect(keys.length).toBeGreaterThan(30);
    expect(keys.filter((key) => !GUIDE.includes(`\`${key}=`))).toEqual([]);
  });

  it('has drop-ins in the guide', () => {
    const names = [...GUIDE_DROP_INS.keys()];
    expect(names).toEqual(expect.arrayContaining(['config-file.conf', 'node.conf', 'user.conf']));
    expect(names).toHaveLength(GUIDE.split('```ini').length - 1);
  });
});

describe.skipIf(ANALYZER < 250)('what systemd-analyze says', () => {
  let directory: TemporaryDirectory;

  beforeEach(() => {
    directory = new TemporaryDirectory();
  });

  afterEach(() => directory.dispose());

  /** The shipped units as if this checkout were /opt/tidegate, changed by `change`. */
  function verify(change: (unit: string) => string, dropIn: string | null = null) {
    cpSync(SHIPPED, directory.path, { recursive: true });
    const here = UNIT.replaceAll(
      '/opt/tidegate/node_modules/.bin/node /opt/tidegate/',
      `${process.execPath} ${ROOT}/`,
    );
    const unit = directory.at('tidegate.service');
    writeFileSync(unit, change(here));
    if (dropIn !== null) {
      mkdirSync(`${unit}.d`);
      writeFileSync(join(`${unit}.d`, 'test.conf'), dropIn);
    }
    return analyze('verify', '--man=no', '--recursive-errors=no', unit);
  }

  const unchanged = (unit: string) => unit;

  it('verifies it', () => {
    expect(verify(unchanged)).toEqual({ code: 0, out: '' });
  });

  it.each([
    ['a key that does not exist', /^Restart=/m, 'Restrat='],
    ['the start limit in the wrong section', /^Type=/m, 'StartLimitIntervalSec=300\nType='],
    ['a program that is not there', /^ExecStart=.*$/m, 'ExecStart=/nowhere/node serve'],
  ])('control: does not verify %s', (_, from, to) => {
    const { out } = verify((unit) => unit.replace(from, to));
    expect(out).not.toBe('');
  });

  it.each(['alert.conf', ...GUIDE_DROP_INS.keys()])('verifies it with the drop-in %s', (name) => {
    const text = GUIDE_DROP_INS.get(name) ?? readFileSync(join(SHIPPED, name), 'utf8');
    const here = text.replace('/usr/bin/node /opt/tidegate/', `${process.execPath} ${ROOT}/`);
    expect(verify(unchanged, here)).toEqual({ code: 0, out: '' });
  });

  it('control: does not verify it with a drop-in that has a mistake', () => {
    expect(verify(unchanged, '[Service]\nMemoryMaximum=1G\n').out).toContain('MemoryMaximum');
  });

  it('verifies the example of an alert', () => {
    cpSync(SHIPPED, directory.path, { recursive: true });
    const instance = directory.at('tidegate-alert@tidegate.service');
    writeFileSync(instance, readFileSync(join(SHIPPED, 'tidegate-alert@.service')));
    const verified = analyze('verify', '--man=no', '--recursive-errors=no', instance);
    expect(verified).toEqual({ code: 0, out: '' });
  });

  it(`finds it exposed by at most ${MOST_EXPOSED / 10}`, () => {
    const threshold = `--threshold=${MOST_EXPOSED}`;
    const unit = join(SHIPPED, 'tidegate.service');
    const { code, out } = analyze('security', '--offline=yes', threshold, unit);
    expect(code, out).toBe(0);
    const [, exposure = ''] = /exposure level for \S+ (\d+\.\d)/.exec(out) ?? [];
    expect(Number(exposure)).toBeLessThanOrEqual(MOST_EXPOSED / 10);
    const open = directory.at('open.service');
    writeFileSync(open, '[Service]\nExecStart=/bin/true\n');
    expect(analyze('security', '--offline=yes', threshold, open).code, 'control').not.toBe(0);
  });

  function analyze(...command: readonly string[]) {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', [...command], {
      encoding: 'utf8',
      // Only what stands beside the unit and what systemd brings along.
      env: { PATH: process.env['PATH'] ?? '', SYSTEMD_COLORS: '0' },
      timeout: 20_000,
    });
    return { code: status, out: `${stdout}${stderr}`.trim() };
  }
});

function analyzerVersion(): number {
  const { stdout } = spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' });
  return Number(/^systemd (\d+)/.exec(stdout ?? '')?.[1] ?? 0);
}
