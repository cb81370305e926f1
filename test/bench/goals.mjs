/** The worlds of the goals, how each is measured, and what is aimed at. */

const MILLION = 1_000_000;
const FIXED = { kind: 'fixed', window: '5h', limit: MILLION, retryAfter: true, headers: 'none' };
const DEMAND = {
  load: 1.5,
  tokens: { median: 700, p90: 4200, p99: 54000 },
  seconds: { median: 5, p95: 24 },
  sessions: 12,
};

function world(overrides = {}) {
  const { upstream = {}, governor = {}, demand = {}, ...rest } = overrides;
  return {
    windows: 40,
    upstream: { ...FIXED, ...upstream },
    governor: { budget: 1.5 * MILLION, ...governor },
    demand: { ...DEMAND, ...demand },
    ...rest,
  };
}

const sum = (windows, key) => windows.reduce((total, window) => total + window[key], 0);
const mean = (windows, key) => sum(windows, key) / windows.length;

/** Windows 4 to the last, counted from 1. */
const steady = {
  of: ({ windows, totals }) => ({
    used: mean(windows.slice(3), 'utilisation'),
    '429s': sum(windows.slice(3), 'upstream429') / (windows.length - 3),
    'in a row': totals.maxConsecutive429,
  }),
};

/** The first window counts as well: what is stated need not be learned. */
const always = {
  of: ({ windows, totals }) => ({
    used: mean(windows, 'utilisation'),
    'in the first window': windows[0]?.utilisation ?? 0,
    '429s': sum(windows, 'upstream429') / windows.length,
    'in a row': totals.maxConsecutive429,
  }),
};

/** With a fall of the limit at `fallMs`. */
const fall = (fallMs, windowMs) => ({
  of: ({ windows }) => {
    const soon = windows.filter(
      ({ start }) => start + windowMs > fallMs && start < fallMs + windowMs,
    );
    const after = windows.filter(({ start }) => start >= fallMs + windowMs);
    return {
      '429s of the fall': sum(soon, 'upstream429'),
      used: mean(after.slice(0, 1), 'utilisation'),
      'used to the end': mean(after, 'utilisation'),
      '429s': sum(after, 'upstream429') / after.length,
    };
  },
});

const rise = (riseMs) => ({
  of: ({ windows }) => {
    const after = windows.filter(({ start }) => start >= riseMs);
    const reached = after.findIndex(({ utilisation }) => utilisation >= 0.9);
    return {
      'windows to 0.90': reached < 0 ? 99 : reached + 1,
      '429s': sum(windows.slice(3), 'upstream429') / (windows.length - 3),
    };
  },
});

const burst = (burstMs, initial) => ({
  of: ({ windows, totals }) => {
    const at = windows.findIndex(({ start }) => start >= burstMs);
    const before = windows.slice(0, at);
    const quiet = before.filter(({ upstream429 }) => upstream429 === 0);
    const highest = Math.max(0, ...quiet.map(({ admittedTokens }) => admittedTokens));
    const bound = Math.max(initial, 1.03 * highest);
    return {
      'budget over bound': Math.max(...totals.budget.slice(0, at)) / bound,
      '429s in the first window': windows[at]?.upstream429 ?? 0,
      '429s in three': sum(windows.slice(at, at + 3), 'upstream429'),
    };
  },
});

const killed = (twin) => ({
  twin,
  of: (result, other) => ({
    used: mean(result.windows.slice(3), 'utilisation'),
    'without kills': mean(other.windows.slice(3), 'utilisation'),
    'more 429s': sum(result.windows, 'upstream429') - sum(other.windows, 'upstream429'),
    orphaned: result.totals.orphanedTokens,
  }),
});

const transient = (twin) => ({
  twin,
  of: ({ totals }, other) => {
    const last = (budget) => budget.at(-1) ?? 0;
    return {
      'budget moved': Math.abs(last(totals.budget) / last(other.totals.budget) - 1),
      'in a row': totals.maxConsecutive429,
    };
  },
});

/** The ladder's waits: a 429 follows the one before it no sooner. Hourly probes of a long cooldown come besides. */
const LADDER_MS = [30, 60, 120, 240, 300].map((seconds) => seconds * 1_000);
const PROBE_EVERY_MS = 3_600_000;

/** How many 429s an episode of this length may have drawn. */
function ladderAllows(lengthMs) {
  let at = 0;
  let allowed = 1;
  for (let rung = 0; ; rung += 1) {
    at += LADDER_MS[Math.min(rung, LADDER_MS.length - 1)];
    if (at > lengthMs) return allowed + Math.floor(lengthMs / PROBE_EVERY_MS);
    allowed += 1;
  }
}

/** 429s of the episodes beyond what the ladder allows: such as were on their way together. */
function beyondLadder({ refusals, events }) {
  let beyond = 0;
  let began = null;
  for (const { kind, at } of events) {
    if (kind === 'cooldown-began') began = at;
    if (kind !== 'episode-ended' || began === null) continue;
    const drawn = refusals.filter((refused) => refused > began - 1_000 && refused <= at).length;
    beyond += Math.max(0, drawn - ladderAllows(at - began));
    began = null;
  }
  return beyond;
}

const laddered = {
  of: (result, _twin, told) => ({ ...steady.of(result), 'beyond the ladder': beyondLadder(told) }),
};

/** Agents that give a request up. */
const impatient = {
  of: ({ windows, totals }) => ({
    used: mean(windows.slice(3), 'utilisation'),
    '429s': sum(windows.slice(3), 'upstream429') / (windows.length - 3),
    'given up of 1,000': (1_000 * totals.givenUp) / (totals.givenUp + totals.answered),
  }),
};

const HOUR = 3_600_000;
const KILLS = [{ at: '52h', every: '5m', count: 17, kind: 'kill' }];
const PER_HOUR = {
  of: ({ windows, totals }) => ({
    used: mean(windows.slice(60), 'utilisation'),
    '429s an hour': (sum(windows.slice(60), 'upstream429') * 60) / (windows.length - 60),
    'in a row': totals.maxConsecutive429,
  }),
};

/** Every world above, with a process killed 17 times in it. */
const KILLED = {
  'budget 0.6': { governor: { budget: 0.6 * MILLION } },
  'no retry-after': { upstream: { retryAfter: false } },
  'fall by 40 %': { upstream: { changes: [{ at: '100h', limit: 0.6 * MILLION }] } },
  'rise by 60 %': { upstream: { changes: [{ at: '100h', limit: 1.6 * MILLION }] } },
  'others use 0.2': { upstream: { othersUse: 0.2 } },
  'sliding window': { upstream: { kind: 'sliding' }, governor: { windowKind: 'sliding' } },
  'headers: unified': { upstream: { headers: 'unified' } },
};

export function goalsWith(trace) {
  const goals = [];
  const add = (name, described, measure, goal) =>
    goals.push({ name, world: described, measure, goal });
  for (const factor of [0.6, 1, 1.5, 2.5]) {
    const governor = { budget: factor * MILLION };
    add(`fixed, budget ${factor}`, world({ governor }), steady, 'used >= 0.97, 429s <= 0.12');
  }
  for (const factor of [0.6, 1, 1.5, 2.5]) {
    const described = { governor: { budget: factor * MILLION }, upstream: { retryAfter: false } };
    const goal = 'used >= 0.96, 429s <= 1.5, beyond the ladder 0';
    add(`no retry-after, budget ${factor}`, world(described), laddered, goal);
  }
  for (const factor of [0.6, 1, 1.5]) {
    const changes = [{ at: '100h', limit: 0.6 * MILLION }];
    const described = world({ governor: { budget: factor * MILLION }, upstream: { changes } });
    const goal = '429s of the fall <= 3, used >= 0.95 from the window after';
    add(`fall by 40 %, budget ${factor}`, described, fall(100 * HOUR, 5 * HOUR), goal);
  }
  for (const factor of [1, 1.5]) {
    const changes = [{ at: '100h', limit: 1.6 * MILLION }];
    const described = world({ governor: { budget: factor * MILLION }, upstream: { changes } });
    const goal = '>= 0.90 within 15 windows, 429s <= 0.2';
    add(`rise by 60 %, budget ${factor}`, described, rise(100 * HOUR), goal);
  }
  for (const othersUse of [0.1, 0.2, 0.3]) {
    add(
      `others use ${othersUse}`,
      world({ upstream: { othersUse } }),
      steady,
      'used >= 0.90, 429s <= 0.5',
    );
  }
  for (const at of ['2m', '52h', '53h']) {
    const restarts = [{ ...KILLS[0], at }];
    add(`17 kills from ${at}`, world({ restarts }), killed(world()), 'within 2 %, 429s <= +1');
  }
  for (const [name, described] of Object.entries(KILLED)) {
    const twin = world(described);
    const goal = 'within 2 %, 429s <= +1';
    add(`17 kills, ${name}`, world({ ...described, restarts: KILLS }), killed(twin), goal);
  }
  for (const factor of [0.6, 1]) {
    const changes = [{ at: '50h', load: 3 }];
    const described = world({
      governor: { budget: factor * MILLION },
      demand: { load: 0.3, changes },
      windows: 13,
    });
    add(
      `burst, budget ${factor}`,
      described,
      burst(50 * HOUR, factor * MILLION),
      'bound <= 1, 429s <= 1',
    );
  }
  const hiccups = world({ upstream: { transient429: 0.01 } });
  add('1 % transient', hiccups, transient(world()), 'budget moved < 0.02');
  if (trace !== null) {
    const described = world({
      upstream: { limit: 10 * MILLION },
      governor: { budget: 15 * MILLION },
      demand: { trace, sessions: 100 },
    });
    add('real traces', described, steady, 'used >= 0.97, 429s <= 0.12');
  }
  add(
    'sliding window',
    world({ upstream: { kind: 'sliding' }, governor: { windowKind: 'sliding' } }),
    steady,
    'used >= 0.95, 429s <= 0.2',
  );
  for (const retries of [2, 10]) {
    const described = world({
      windows: 4 * 60,
      upstream: { kind: 'bucket', window: '1m', limit: 0.2 * MILLION },
      governor: { windowKind: 'bucket', budget: 0.2 * MILLION },
      demand: { sessions: 60, retries },
    });
    const goal = 'used >= 0.9, 429s <= 0.02, given up of 1,000 <= 2';
    add(`${retries} retries, bucket, 0.2 M a minute`, described, impatient, goal);
  }
  const bucket = {
    windows: 48 * 60,
    replicas: 8,
    upstream: { kind: 'bucket', window: '1m', limit: 2 * MILLION },
    governor: { windowKind: 'bucket', budget: 3 * MILLION },
    demand: { sessions: 400 },
  };
  const perHour = 'used >= 0.95, 429s an hour <= 0.2';
  add('bucket, 2 M a minute, 8 replicas', world(bucket), PER_HOUR, perHour);
  add(
    '17 kills, bucket',
    world({ ...bucket, restarts: [{ ...KILLS[0], at: '20h' }] }),
    killed(world(bucket)),
    'within 2 %, 429s <= +1',
  );
  for (const headers of ['anthropic', 'unified', 'openai']) {
    const goal = 'used >= 0.98, 429s <= 0.02, from the first window on';
    add(`headers: ${headers}`, world({ upstream: { headers } }), always, goal);
  }
  add(
    'headers: anthropic, others use 0.2',
    world({ upstream: { headers: 'anthropic', othersUse: 0.2 } }),
    always,
    'used >= 0.90, 429s <= 0.5',
  );
  return goals;
}
