import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { GUIDE_DROP_INS } from './guide.js';
import { Installed, MISBEHAVE, PATIENCE_MS, SKIPPED } from './installed.js';

const VOLATILE_STATE =
  '[Service]\nRuntimeDirectory=volatile\nEnvironment=TIDEGATE_STATE=file:/run/volatile/state.json\n';
const TIMES = { timeout: 3 * PATIENCE_MS };
const TOKEN = 'a-token-of-sixteen-or-more';
/** systemd then takes no notice of what the service says. */
const UNHEARD = 'Type=exec\nNotifyAccess=none\nWatchdogSec=0\n';

/**
 * Goal: the shipped unit keeps what the incident asks for, under a real systemd.
 * Method: a machine of its own (SystemdMachine), the unit as it is shipped, drop-ins that shorten
 * waits. Where a claim could hold by itself there is a control without what it rests on.
 */
describe.skipIf(SKIPPED !== null)('tidegate.service under a real systemd', TIMES, () => {
  let installed: Installed;

  beforeAll(async () => {
    installed = await Installed.boot();
  });

  afterAll(() => installed?.machine.end());

  beforeEach(() => installed.reset());

  it('is started when the data port serves, and says how things stand', async () => {
    await installed.start();
    expect(await installed.call()).toMatchObject({ status: 200 });
    await installed.reaches('StatusText', 'anthropic: open');
    expect(await installed.property('NRestarts')).toBe('0');
  });

  it('runs as nobody in particular, with a state that is only its own', async () => {
    await installed.start();
    const pid = await installed.property('MainPID');
    expect(await installed.machine.must('stat', '-c', '%u', `/proc/${pid}`)).not.toBe('0');
    const state = '/var/lib/tidegate/state.json';
    expect(await installed.machine.must('stat', '-L', '-c', '%a', state)).toBe('600');
    const limits = await installed.machine.must('cat', `/proc/${pid}/limits`);
    // As many as the unit says, or as the machine has: never the 1024 that would end with a thousand streams.
    const [, soft, hard] = /Max open files\s+(\d+)\s+(\d+)/.exec(limits) ?? [];
    expect(soft).toBe(hard);
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
  });

  it('stays stopped after a clean stop, which the next start finds on record', async () => {
    await installed.start();
    await installed.call();
    await installed.stop();
    expect(await installed.property('ActiveState')).toBe('inactive');
    expect(await installed.property('Result')).toBe('success');
    expect(await installed.property('ExecMainStatus')).toBe('0');
    await installed.start();
    expect(await installed.property('NRestarts')).toBe('0');
    expect(await installed.settledUse()).toBe(500);
    expect(await installed.journal()).not.toContain('did not stop cleanly');
    await installed.signal('KILL');
    await installed.reaches('NRestarts', '1');
    await installed.reaches('ActiveState', 'active');
    expect(await installed.journal(), 'control: a kill is told').toContain('did not stop cleanly');
  });

  it.each([
    ['the state directory', '', 1_000],
    ['control: a directory that goes with the process', VOLATILE_STATE, 0],
  ])(
    'after SIGKILL and a restart by systemd the charge is what %s kept',
    async (_, dropIn, kept) => {
      await installed.dropIn(dropIn);
      await installed.start();
      await installed.call();
      await installed.call();
      expect(await installed.settledUse()).toBe(1_000);
      await installed.signal('KILL');
      await installed.reaches('NRestarts', '1');
      await installed.reaches('ActiveState', 'active');
      expect(await installed.settledUse()).toBe(kept);
    },
  );

  it('stops an instant crasher after five starts, and says so once', async () => {
    await installed.dropIn(`[Service]\n${MISBEHAVE}\nEnvironment=TEST_CRASH=start\n`);
    await installed.machine.run('systemctl', 'start', 'tidegate');
    await installed.reaches('ActiveState', 'failed');
    const journal = await installed.journal();
    expect(count(journal, 'Starting tidegate.service')).toBe(5);
    expect(journal).toContain('Start request repeated too quickly');
    expect(await installed.property('NRestarts')).toBe('5');
    const alerts = await installed.machine.journal('--identifier=tidegate-alert');
    expect(count(alerts, 'tidegate.service has failed on')).toBe(1);
  });

  it('remembers the starts of a crash loop that systemd has forgotten', async () => {
    await installed.dropIn(`[Service]\n${MISBEHAVE}\nEnvironment=TEST_CRASH=serving\n`);
    await installed.machine.run('systemctl', 'start', 'tidegate');
    await installed.reaches('ActiveState', 'failed');
    await installed.dropIn('');
    await installed.machine.must('systemctl', 'reset-failed', 'tidegate');
    await installed.start();
    expect(await installed.property('NRestarts')).toBe('0');
    expect(await installed.status()).toMatchObject({ crashLoop: true, recentStarts: 6 });
    const loop = 'crash loop: 5 unclean starts in two hours, no budget is raised';
    await installed.reaches('StatusText', `${loop}; anthropic: open`);
  });

  it('is not restarted on a mistake in the configuration', async () => {
    await installed.dropIn('[Service]\nEnvironment=TIDEGATE_WINDOW=five-hours\n');
    expect((await installed.machine.run('systemctl', 'start', 'tidegate')).code).not.toBe(0);
    expect(await installed.property('ActiveState')).toBe('failed');
    expect(await installed.property('ExecMainStatus')).toBe('78');
    expect(await installed.property('NRestarts')).toBe('0');
    expect(await installed.journal()).toContain('TIDEGATE_WINDOW');
  });

  it('serves off loopback by a configuration file that only root can read', async () => {
    const file = '/etc/tidegate/tidegate.yaml';
    const yaml = `adminListen: 0.0.0.0:8788\nadminToken: ${TOKEN}\nlisten: 0.0.0.0:8787\n`;
    await installed.machine.write(file, yaml, '0600');
    await installed.dropIn(GUIDE_DROP_INS.get('config-file.conf')!);
    await installed.start();
    const control = 'http://127.0.0.1:8788';
    await until(
      async () => (await installed.request(`${control}/health/ready`)).status === 200,
      PATIENCE_MS,
    );
    expect(await installed.request(`${control}/status`)).toMatchObject({ status: 401 });
    const headers = { authorization: `Bearer ${TOKEN}` };
    expect(await installed.request(`${control}/status`, { headers })).toMatchObject({
      status: 200,
    });
    expect(await installed.call()).toMatchObject({ status: 200 });
  });

  it('is killed and revived by the watchdog when its event loop is blocked', async () => {
    await installed.dropIn(`[Service]\nWatchdogSec=3\n${MISBEHAVE}\n`);
    await installed.start();
    await installed.call();
    const pinged = await installed.property('WatchdogTimestampMonotonic');
    await until(async () => {
      const latest = await installed.property('WatchdogTimestampMonotonic');
      return Number(latest) > Number(pinged) + 500_000;
    }, PATIENCE_MS);
    expect(await installed.property('NRestarts')).toBe('0');
    await installed.signal('USR2');
    await installed.reaches('NRestarts', '1');
    await installed.reaches('ActiveState', 'active');
    expect(await installed.journal()).toContain('Watchdog timeout');
    expect(await installed.call()).toMatchObject({ status: 200 });
    expect(await installed.settledUse()).toBe(1_000);
  });

  it.each([
    ['as long as TIDEGATE_DRAIN says', '', true, 'success'],
    ['control: no longer than its stop timeout, unasked', UNHEARD, false, 'timeout'],
  ])('lets streams finish in a stop, %s', async (_, dropIn, whole, result) => {
    const impatient = '[Service]\nTimeoutStopSec=1\nEnvironment=TIDEGATE_DRAIN=1m\n';
    await installed.dropIn(`${impatient}${dropIn}`);
    await installed.start();
    await until(async () => (await installed.call()).status === 200, PATIENCE_MS);
    const streaming = installed.call({ 'x-test-hold': 'yes' });
    await until(async () => (await installed.limit()).reserved > 0, PATIENCE_MS);
    const stopped = installed.stop();
    if (whole) {
      await installed.reaches('SubState', 'stop-sigterm');
      // Past the stop timeout; in the control systemd has ended the stream by then.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      await installed.request('http://127.0.0.1:9000/release');
    }
    expect(await streaming).toMatchObject({ status: 200, whole });
    await stopped;
    expect(await installed.property('Result')).toBe(result);
  });
});

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
