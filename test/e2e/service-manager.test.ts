import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/** A real process and a systemd-notify of our own, for machines without systemd. */
let directory: TemporaryDirectory;
let tidegate: TidegateProcess;

beforeEach(() => {
  directory = new TemporaryDirectory();
  const helper = directory.at('systemd-notify');
  writeFileSync(helper, `#!/bin/sh\n{ echo "$*"; env; } >> ${directory.at('told')}\n`);
  chmodSync(helper, 0o755);
});

afterEach(async () => {
  await tidegate.kill();
  directory.dispose();
});

const told = () =>
  existsSync(directory.at('told')) ? readFileSync(directory.at('told'), 'utf8') : '';

function start(env: Readonly<Record<string, string>>): Promise<TidegateProcess> {
  return TidegateProcess.start({
    PATH: `${directory.path}:${process.env['PATH']}`,
    TIDEGATE_STATE: `file:${directory.at('state.json')}`,
    TIDEGATE_ADMIN_TOKEN: 'a-secret-of-sixteen',
    ...env,
  });
}

it('reports ready, alive and stopping, and hands no secret to the helper', async () => {
  tidegate = await start({ NOTIFY_SOCKET: directory.at('socket'), WATCHDOG_USEC: '150000' });
  await until(() => /^READY=1 STATUS=ready$/m.test(told()));
  await until(() => told().split('WATCHDOG=1').length > 3);
  await until(() => /STATUS=anthropic: open$/m.test(told()));
  expect(await tidegate.stop()).toEqual({ code: 0, signal: null });
  expect(told()).toMatch(/STOPPING=1 EXTEND_TIMEOUT_USEC=45000000 STATUS=stopping: 0 in flight/);
  expect(told()).toContain(`NOTIFY_SOCKET=${directory.at('socket')}`);
  expect(told()).not.toContain('TIDEGATE_');
});

it('runs no helper where no manager listens', async () => {
  tidegate = await start({ WATCHDOG_USEC: '150000' });
  expect(await tidegate.stop()).toEqual({ code: 0, signal: null });
  expect(told()).toBe('');
});

it('serves all the same when the helper is missing, and says so', async () => {
  tidegate = await start({ NOTIFY_SOCKET: '/nowhere', PATH: '/nowhere', WATCHDOG_USEC: '150000' });
  await until(() => tidegate.err.includes('service manager could not be told'));
  expect((await fetch(`${tidegate.controlUrl}/health/ready`)).status).toBe(200);
});
