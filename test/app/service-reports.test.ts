import { beforeEach, describe, expect, it } from 'vitest';
import { homePage } from '../../src/admin/home-page.js';
import type { DataPlane } from '../../src/data-plane.js';
import type { LimitView, ScopeView } from '../../src/governor/scope-view.js';
import type { ServiceManager } from '../../src/platform/service-manager.js';
import { TidegateError } from '../../src/platform/tidegate-error.js';
import { ServiceReports, statusLineOf } from '../../src/service-reports.js';
import type { Reported } from '../../src/standing.js';
import { ManualTime } from '../support/manual-time.js';

const NOON = Date.UTC(2025, 10, 23, 12);

let views: Record<string, Partial<ScopeView> | Error>;
let healthy: boolean;
let plane: Reported & Pick<DataPlane, 'proxy'>;

beforeEach(() => {
  views = { anthropic: {} };
  healthy = true;
  plane = {
    config: { mode: 'enforce', drainMs: 600_000, instance: 'box' },
    phase: 'serving',
    repository: { health: () => ({ healthy, problem: healthy ? null : 'free\nspace' }) },
    proxy: { inFlight: 3, tally: { silences: [], missed: new Map() } },
    governor: {
      get scopes() {
        return Object.keys(views);
      },
      view: async (scope: string) => {
        const view = views[scope];
        if (view instanceof Error) throw view;
        const nothing = { cooldown: null, limits: [], models: [], missing: [], cautious: null };
        const open = { state: 'open', blockedUntil: null, ...nothing };
        return { scope, ...open, starts: { crashLoop: false }, ...view };
      },
    },
  } as unknown as typeof plane;
});

const EARLIER = NOON - 3_600_000;

function limit(given: object): LimitView {
  const usedUp = { name: 'tokens', models: null, cooldown: null, blockedUntil: EARLIER };
  return { ...usedUp, budget: { current: 9_748 }, used: 10_050, ...given } as unknown as LimitView;
}

const CAUTIOUS = { since: 0, until: NOON, reason: 'restored', allowance: 1 } as const;

const COOLDOWN: Partial<ScopeView> = {
  state: 'cooldown',
  blockedUntil: NOON,
  cooldown: { kind: 'quota', since: 0, until: NOON, episode: 1, consecutive: 1 },
};

describe('the status line', () => {
  it('says who is blocked, why and until when', async () => {
    expect(await statusLineOf(plane)).toBe('anthropic: open');
    views = { anthropic: COOLDOWN };
    expect(await statusLineOf(plane)).toBe(
      'anthropic: cooldown (quota) until 2025-11-23T12:00:00.000Z',
    );
  });

  it('begins with who is blocked, and counts what it does not name', async () => {
    views = { a: {}, b: {}, c: COOLDOWN, d: {}, e: { state: 'cautious', cautious: CAUTIOUS } };
    expect(await statusLineOf(plane)).toBe(
      'c: cooldown (quota) until 2025-11-23T12:00:00.000Z; e: cautious (restored) until 2025-11-23T12:00:00.000Z; a: open; 2 more, 0 of them not open',
    );
    views = { a: COOLDOWN, b: COOLDOWN, c: COOLDOWN, d: COOLDOWN };
    expect(await statusLineOf(plane)).toMatch(/1 more, 1 of them not open$/);
  });

  it('says what is worse than a cooldown', async () => {
    views = { anthropic: { starts: { recent: 5, unclean: 5, crashLoop: true } } };
    expect(await statusLineOf(plane)).toBe(
      'crash loop: 5 unclean starts in two hours, no budget is raised; anthropic: open',
    );
    views = { anthropic: new Error('away') };
    expect(await statusLineOf(plane)).toBe(
      'nothing is forwarded, for the state cannot be read: away',
    );
    const hint = 'look there';
    views = { anthropic: new TidegateError('STATE_UNAVAILABLE', 'locked', { hint }) };
    expect(await statusLineOf(plane)).toBe(
      'nothing is forwarded, for the state cannot be read: locked: look there',
    );
    healthy = false;
    expect(await statusLineOf(plane)).toBe(
      'nothing is forwarded, for the state cannot be written: free?space',
    );
  });

  it('says why and until when a scope is cautious, beside what else holds it back', async () => {
    views = {
      a: { state: 'exhausted', blockedUntil: EARLIER, limits: [limit({})], cautious: CAUTIOUS },
    };
    expect(await statusLineOf(plane)).toBe(
      'a: exhausted (tokens: 10_050 of 9_748) until 2025-11-23T11:00:00.000Z, cautious (restored) until 2025-11-23T12:00:00.000Z',
    );
    const cooldown = { kind: 'terminal', since: 0, until: NOON, episode: 1, consecutive: 1 };
    views = { a: { state: 'terminal', blockedUntil: NOON, cooldown } };
    expect(await statusLineOf(plane)).toBe(
      'a: terminal (spend cap or no credit), tried again at 2025-11-23T12:00:00.000Z',
    );
  });

  it('names the limit that is used up for longest, of those that bind every request', async () => {
    const limits = [
      limit({ name: '5h', blockedUntil: EARLIER }),
      limit({ name: '7d', blockedUntil: NOON, budget: { current: 1_000_000 }, used: 1_000_000.4 }),
      limit({ name: 'spare', blockedUntil: null }),
    ];
    views = { a: { state: 'exhausted', blockedUntil: NOON, limits } };
    expect(await statusLineOf(plane)).toBe(
      'a: exhausted (7d: 1_000_000 of 1_000_000) until 2025-11-23T12:00:00.000Z',
    );
  });

  it('says that nothing new is taken, before what would be true without that', async () => {
    Object.assign(plane, { phase: 'draining' });
    expect(await statusLineOf(plane)).toBe(
      'draining: nothing new is taken, what runs may end; anthropic: open',
    );
    Object.assign(plane, { phase: 'starting' });
    expect(await statusLineOf(plane)).toMatch(/^starting: requests wait .*; anthropic: open$/);
  });

  it('says that observe mode refuses nothing', async () => {
    Object.assign(plane.config, { mode: 'observe' });
    expect(await statusLineOf(plane)).toBe('observe: nothing is refused; anthropic: open');
  });
});

describe('the page', () => {
  const page = () => homePage({ ...plane, clock: { now: () => NOON } }, '1.2.3');

  it('says what time it is, how things stand and where there is more', async () => {
    expect(await page()).toMatch(
      /^Tidegate 1\.2\.3, instance box, at 2025-11-23T12:00:00\.000Z\n\nanthropic: open\n\nGET {2}\/status /,
    );
  });

  it('says what to do only of what is there: about a clock, overload, and where a budget comes from', async () => {
    const clock = { ...CAUTIOUS, reason: 'clock' } as const;
    const overload = { kind: 'overload', since: 0, until: NOON, episode: 1, consecutive: 1 };
    views = {
      a: { state: 'cautious', cautious: clock },
      b: { state: 'cooldown', cooldown: overload, blockedUntil: NOON },
      c: { state: 'exhausted', limits: [limit({ budget: { current: 9, source: 'headers' } })] },
      d: { starts: { recent: 5, unclean: 5, crashLoop: true } },
    };
    const hints = (await page()).split('\n\n')[2] as string;
    expect(hints.split('\n').map((hint) => hint.replace(/:.*/, ''))).toEqual([
      'crash loop',
      'overload',
      'exhausted (stated)',
      'cautious (clock)',
    ]);
  });

  it('says what to do about what it tells, and about nothing else', async () => {
    views = { a: COOLDOWN, b: { state: 'cautious', cautious: CAUTIOUS }, c: {} };
    const hints = (await page()).split('\n\n')[2]?.split('\n');
    expect(hints).toEqual([
      expect.stringMatching(/^cooldown: wait; .* POST \/cooldown\/clear$/),
      expect.stringMatching(/^cautious: budgets are at their floor/),
    ]);
  });

  it('says that the POSTs want a scope, where there are several', async () => {
    expect(await page()).not.toContain('?scope=');
    views = { a: {}, b: {} };
    expect(await page()).toMatch(/\?scope=NAME .* the POSTs are for\n$/);
  });

  it('says what is wrong with the state', async () => {
    healthy = false;
    expect(await page()).toContain('nothing is forwarded, for the state cannot be written: free');
  });
});

describe('reports', () => {
  let time: ManualTime;
  let told: Record<string, string>[];
  let reports: ServiceReports;

  function reportTo(watchdogMs: number | null): void {
    time = new ManualTime();
    told = [];
    const manager = { watchdogMs, tell: (notice: Record<string, string>) => told.push(notice) };
    reports = new ServiceReports(manager as unknown as ServiceManager, plane, time);
  }

  const settled = () => new Promise(setImmediate);
  const pings = () => told.filter((notice) => 'WATCHDOG' in notice).length;

  it('ping three times in a watchdog period, and not without a watchdog', async () => {
    reportTo(30_000);
    reports.ready();
    for (let second = 0; second < 30; second += 1) time.advance(1_000);
    expect(pings()).toBe(4);
    reportTo(null);
    reports.ready();
    time.advance(60_000);
    await settled();
    expect(pings()).toBe(0);
    expect(told).toContainEqual({ STATUS: 'anthropic: open' });
  });

  it('tell the status when it changes, and ping even while nobody can say what it is', async () => {
    reportTo(30_000);
    reports.ready();
    await settled();
    time.advance(10_000);
    await settled();
    const statuses = () => told.flatMap(({ STATUS }) => STATUS ?? []);
    expect(statuses()).toEqual(['ready', 'anthropic: open']);
    views = { anthropic: COOLDOWN };
    time.advance(10_000);
    await settled();
    expect(statuses()).toHaveLength(3);
    plane.governor.view = () => new Promise(() => {});
    const before = pings();
    time.advance(60_000);
    await settled();
    expect(pings()).toBe(before + 6);
  });

  it('ask for the whole drain when they tell of the stop, and go on pinging until the end', async () => {
    reportTo(30_000);
    reports.ready();
    await settled();
    reports.stopping();
    expect(told.at(-1)).toEqual({
      STOPPING: '1',
      EXTEND_TIMEOUT_USEC: '615000000',
      STATUS: 'stopping: 3 in flight may go on for 600 s',
    });
    time.advance(10_000);
    await settled();
    expect(told.at(-1)).toEqual({ WATCHDOG: '1' });
    reports.close();
    expect(time.pending).toBe(0);
  });
});
