import { afterEach, describe, expect, it } from 'vitest';
import { NO_FILES } from '../config/load.js';
import { run } from '../../src/cli/state-show.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { rfc3339 } from '../../src/platform/clock.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import { HOUR, limit, MINUTE, SCOPE, statement, success, Town } from '../governor/support.js';
import { FileStore } from '../support/file-store.js';
import { ManualTime } from '../support/manual-time.js';

/** `tidegate state show` in this process, of states that a governor has made. */
let store: FileStore;
afterEach(() => store.dispose());

async function show(town: Town, ...flags: string[]): Promise<string> {
  store = new FileStore(new ManualTime());
  const repository = await store.open();
  const state = town.disk.scopes.get(SCOPE) as ScopeState;
  await repository.update(SCOPE, () => ({ state, outcome: null }));
  let told = '';
  const terminal = { cwd: '/', env: {}, machine: NO_FILES, out: (text: string) => (told += text) };
  await run([`file:${store.path}`, ...flags], terminal as unknown as Terminal);
  return told.replaceAll(/ +/g, ' ');
}

/** The budget as shown, for people and for programs. */
async function budgetOf(town: Town) {
  const text = await show(town);
  await store.dispose();
  const json = JSON.parse(await show(town, '--json')) as {
    readonly budgets: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  expect((await town.limitView()).budget.current, 'as /status says').toBe(
    (json.budgets[SCOPE]!['tokens'] as { current: number | null }).current,
  );
  return { text, json: json.budgets[SCOPE]!['tokens'] };
}

async function hear(town: Town, amount: number): Promise<void> {
  const admission = await town.admit();
  const stated = statement({ name: '5h', limit: amount, remaining: amount, windowMs: 5 * HOUR });
  town.governor.succeeded(admission, [stated]);
  await town.settle(admission, success(1_000));
}

function loseFor(town: Town, ms: number): void {
  const { hot, cold } = town.disk.scopes.get(SCOPE) as ScopeState;
  const since = town.time.wall();
  const cautious = { since, until: since + ms, reason: 'restored', allowance: 1 } as const;
  town.disk.scopes.set(SCOPE, { hot: { ...hot, cautious }, cold });
}

describe('state show names the budget that counts', () => {
  it('none yet, whatever was lost', async () => {
    const town = await Town.open();
    await town.call(1_000);
    loseFor(town, MINUTE);
    const { text, json } = await budgetOf(town);
    expect(text).toContain(' tokens 1_000 used, no budget yet, 0 of it in flight');
    expect(json).toEqual({ current: null, source: 'none', from: 'none' });
  });

  it('the operator’s, also where the upstream states more', async () => {
    const town = await Town.open({ limits: [limit({ budget: 50_000 })] });
    await hear(town, 200_000);
    const { text, json } = await budgetOf(town);
    expect(text).toContain(' tokens 1_000 used of 50_000 (configured)');
    expect(text).toContain('\n budget configured\n');
    expect(json).toEqual({ current: 50_000, source: 'configured', from: 'configured' });
  });

  it('what the upstream states, where it states less', async () => {
    const town = await Town.open({ limits: [limit({ budget: 500_000 })] });
    await hear(town, 200_000);
    const { text, json } = await budgetOf(town);
    expect(text).toContain(' tokens 1_000 used of 199_600 (headers)');
    expect(text).toContain(
      '\n budget stated by the upstream as 5h, below the own one: configured 500_000\n',
    );
    expect(json).toMatchObject({ current: 199_600, source: 'headers' });
  });

  it('what was learned, and from which refusal', async () => {
    const town = await Town.open();
    await town.call(100_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const { at } = (await town.view()).calibration.samples[0]!;
    const { text, json } = await budgetOf(town);
    expect(text).toContain(' tokens 100_000 used of 97_000 (learned)');
    expect(json).toEqual({
      current: 97_000,
      source: 'learned',
      from: `learned: limit 100_000, refused ${rfc3339(at)}`,
    });
  });

  it('its floor, while the state is not to be believed', async () => {
    const town = await Town.open({ limits: [limit({ budget: 50_000 })] });
    await town.call(1_000);
    loseFor(town, MINUTE);
    const { text, json } = await budgetOf(town);
    expect(text).toContain(' tokens 1_000 used of 15_000 (floor)');
    expect(json).toMatchObject({ from: 'floor while cautious (restored); else configured 50_000' });
  });
});
