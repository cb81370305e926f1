import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FakeUpstream, messageText, type Answer } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';

/** As a subscription's answers tell them (wire facts §1.2): the overall status is rejected, one window is to blame. */
function rejected(window: string): Answer {
  const head = 'anthropic-ratelimit-unified';
  const resetAt = Math.floor(Date.now() / 1_000) + 51_811;
  const headers = {
    'content-type': 'application/json',
    'retry-after': '51811',
    [`${head}-status`]: 'rejected',
    [`${head}-7d-status`]: 'allowed_warning',
    [`${head}-7d-utilization`]: '0.8',
    [`${head}-${window}-status`]: 'rejected',
    [`${head}-${window}-utilization`]: '1.0',
    [`${head}-${window}-reset`]: String(resetAt),
  };
  const error = {
    type: 'rate_limit_error',
    message: "This would exceed your account's rate limit.",
  };
  return (_request, response) => {
    response.writeHead(429, headers).end(JSON.stringify({ type: 'error', error }));
  };
}

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let gate: TidegateProcess;
/** Windows of models that are used up, by what their names contain. */
const refusedFor = new Map<string, Answer>();

const answer: Answer = (request, response) => {
  const { model } = JSON.parse(request.body.toString()) as { model: string };
  for (const [part, refuse] of refusedFor)
    if (model.includes(part)) return refuse(request, response);
  response.setHeader('content-type', 'application/json');
  response.end(messageText({ input: 60, output: 40 }));
};

async function start(): Promise<void> {
  const file = directory.at('tidegate.yaml');
  writeFileSync(
    file,
    `upstreams:\n  - name: api\n    url: ${upstream.url}\n    dialect: anthropic\n    listen: 127.0.0.1:0\n` +
      '    limits:\n      - {name: 7d, window: 7d}\n' +
      '      - {name: 7d_opus, window: 7d, models: ["claude-opus-*"]}\n',
  );
  const state = `file:${directory.at('state.json')}`;
  gate = await TidegateProcess.start({ TIDEGATE_CONFIG: file, TIDEGATE_STATE: state });
}

beforeAll(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(answer);
  await start();
});

afterAll(async () => {
  await gate.kill();
  await upstream.close();
  directory.dispose();
});

async function decisionOn(model: string): Promise<string | number> {
  const response = await gate.call({ model });
  await response.text();
  return response.headers.get('tidegate-decision') ?? response.status;
}

it('what is rejected for one model’s window holds that model back, restarts included, and no other', async () => {
  refusedFor.set('opus', rejected('7d_opus'));
  expect(await decisionOn('claude-opus-4-1')).toBe(429);
  expect(await decisionOn('Claude-Opus-4-6')).toBe('cooldown');
  expect(await decisionOn('claude-sonnet-4-5')).toBe(200);
  const { state, blockedUntil, cooldown, limits } = await gate.scope();
  expect({ state, blockedUntil, cooldown }).toEqual({
    state: 'open',
    blockedUntil: null,
    cooldown: null,
  });
  expect(limits.map(({ cooldown: own }) => own?.kind ?? null)).toEqual([null, 'quota']);
  expect(limits[1]?.blockedUntil).toBe(limits[1]?.cooldown?.until);
  const page = await (await fetch(gate.controlUrl)).text();
  expect(page).toContain(
    `api: open, but not claude-opus-* (7d_opus): cooldown (quota) until ${limits[1]?.blockedUntil}`,
  );

  await gate.kill();
  await start();
  const told = await gate.call({ model: 'claude-opus-4-1' });
  expect(told.headers.get('tidegate-blocked-until')).toBe(limits[1]?.blockedUntil);
  expect(await told.text()).toContain('holding requests of this model back');
  expect(await decisionOn('claude-sonnet-4-5')).toBe(200);
  expect(upstream.seen).toHaveLength(3);
});

it('so does one for a window that is not configured', async () => {
  refusedFor.set('fable', rejected('7d_oi'));
  expect(await decisionOn('claude-fable-5')).toBe(429);
  expect(await decisionOn('claude-fable-5')).toBe('cooldown');
  expect(await decisionOn('claude-sonnet-4-5')).toBe(200);
  const { state, models } = await gate.scope();
  expect(state).toBe('open');
  expect(models).toMatchObject([{ model: 'claude-fable-5', cooldown: { kind: 'quota' } }]);
});
