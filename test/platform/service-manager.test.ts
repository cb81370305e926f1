import { describe, expect, it } from 'vitest';
import { SILENT_LOG } from '../../src/platform/log.js';
import {
  ServiceManager,
  serviceManagerOf,
  watchdogOf,
} from '../../src/platform/service-manager.js';

/** What was handed over, message by message; each waits until the test lets it go. */
class Inbox {
  readonly messages: string[][] = [];
  readonly complaints: string[] = [];
  readonly #pending: { resolve(): void; reject(error: Error): void }[] = [];
  readonly manager = new ServiceManager({
    watchdogMs: null,
    log: { ...SILENT_LOG, error: (message) => this.complaints.push(message) },
    deliver: (assignments) => {
      this.messages.push([...assignments]);
      return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
    },
  });

  async take(): Promise<void> {
    this.#pending.shift()!.resolve();
    await new Promise(setImmediate);
  }

  async refuse(): Promise<void> {
    this.#pending.shift()!.reject(new Error('nobody listens'));
    await new Promise(setImmediate);
  }
}

describe('telling the service manager', () => {
  it('sends one message at a time, and what was told meanwhile together in the next', async () => {
    const inbox = new Inbox();
    inbox.manager.tell({ READY: '1', STATUS: 'ready' });
    inbox.manager.tell({ WATCHDOG: '1' });
    inbox.manager.tell({ STATUS: 'one' });
    inbox.manager.tell({ STATUS: 'two' });
    expect(inbox.messages).toEqual([['READY=1', 'STATUS=ready']]);
    await inbox.take();
    expect(inbox.messages.slice(1)).toEqual([['WATCHDOG=1', 'STATUS=two']]);
    await inbox.take();
    await inbox.manager.idle();
    expect(inbox.messages).toHaveLength(2);
  });

  it('sends again with the next notice what was not taken, and complains once', async () => {
    const inbox = new Inbox();
    inbox.manager.tell({ READY: '1', STATUS: 'ready' });
    await inbox.refuse();
    inbox.manager.tell({ STATUS: 'newer' });
    await inbox.refuse();
    inbox.manager.tell({ WATCHDOG: '1' });
    await inbox.take();
    expect(inbox.messages.at(-1)).toEqual(['READY=1', 'STATUS=newer', 'WATCHDOG=1']);
    expect(inbox.complaints).toHaveLength(1);
    inbox.manager.tell({ WATCHDOG: '1' });
    await inbox.refuse();
    expect(inbox.complaints, 'a new failure is news').toHaveLength(2);
  });

  it('keeps the newest value when the older one comes back untaken', async () => {
    const inbox = new Inbox();
    inbox.manager.tell({ STATUS: 'old' });
    inbox.manager.tell({ STATUS: 'new' });
    await inbox.refuse();
    inbox.manager.tell({});
    expect(inbox.messages.at(-1)).toEqual(['STATUS=new']);
  });
});

describe('the environment', () => {
  it('names no manager: there is none', () => {
    expect(serviceManagerOf({}, SILENT_LOG)).toBeNull();
    expect(serviceManagerOf({ NOTIFY_SOCKET: '' }, SILENT_LOG)).toBeNull();
    expect(serviceManagerOf({ NOTIFY_SOCKET: '/run/x' }, SILENT_LOG)).not.toBeNull();
  });

  it.each([
    ['no watchdog', {}, null],
    ['one for this process', { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 30_000],
    ['one for whoever asks', { WATCHDOG_USEC: '1500' }, 1.5],
    ['one for another process', { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, null],
    ['one that is switched off', { WATCHDOG_USEC: '0', WATCHDOG_PID: '7' }, null],
    ['one that can’t be read', { WATCHDOG_USEC: '30s', WATCHDOG_PID: '7' }, null],
  ])('%s', (_, env, expected) => {
    expect(watchdogOf(env, 7)).toBe(expected);
  });
});
