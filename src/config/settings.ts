/**
 * The table of what can be set, which goes on in file-settings.ts: parsing, error messages, `tidegate help settings` and
 * docs/reference/configuration.md are all made from it.
 */
import type { WindowKind } from '../budget/settings.js';
import type { DialectName } from '../dialects/dialect.js';
import type { LossPolicy } from '../state/state-repository.js';
import type { Config } from './config.js';
import {
  countOr,
  duration,
  INSTANCE_NAME,
  ladder,
  oneOf,
  percent,
  SECRET,
  type Parser,
} from './parse.js';
import { FILE_NAME, LISTEN_ADDRESS, LOG_FILE, UPSTREAM_URL } from './parse-places.js';
import { STATE_STORE } from './state-store.js';

export interface Setting {
  /** The environment variable; null where only the file can set it. */
  readonly env: string | null;
  readonly group: Group;
  readonly parser: Parser<unknown>;
  /**
   * What holds when it is not given: a text that is parsed like any other; or null, in words; or
   * an error.
   */
  readonly absent:
    { readonly text: string } | { readonly means: string } | { readonly error: true };
  /**
   * What it is and does, for the person who sets it; Markdown without links, ends with a full
   * stop.
   */
  readonly meaning: string;
  /** Its value is never printed. */
  readonly secret?: true;
}

export type Group =
  'proxy' | 'control' | 'state' | 'budget' | 'backoff' | 'job' | 'process' | 'file';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * By key in the file. Lower bounds are what tests on real time need; sensible values are far above.
 * Upper bounds keep a slip of the unit (`30d` for `30s`) from passing where it can't have been meant.
 */
export const SETTINGS = {
  listen: {
    env: 'TIDEGATE_LISTEN',
    group: 'proxy',
    parser: LISTEN_ADDRESS,
    absent: { text: '127.0.0.1:8787' },
    meaning: 'Where agents reach the proxy. Every path there belongs to the upstream.',
  },
  upstream: {
    env: 'TIDEGATE_UPSTREAM',
    group: 'proxy',
    parser: UPSTREAM_URL,
    absent: { text: 'https://api.anthropic.com' },
    meaning:
      'The API that requests are forwarded to. A base path is put before the path of every request; do not write the `/v1` that clients send themselves.',
  },
  dialect: {
    env: 'TIDEGATE_DIALECT',
    group: 'proxy',
    parser: oneOf<DialectName>(['anthropic', 'openai', 'generic']),
    absent: { means: 'by the host of the upstream, else `anthropic`' },
    meaning:
      'Which API the upstream speaks: how its limits, usage and refusals are read. `openai` is also what Azure, Gemini, Groq, Mistral and OpenRouter speak; `generic` counts requests of any HTTP API.',
  },
  upstreamTimeout: {
    env: 'TIDEGATE_UPSTREAM_TIMEOUT',
    group: 'proxy',
    parser: duration({ min: 100, max: DAY }, '15m'),
    absent: { text: '15m' },
    meaning:
      "Longest wait for the upstream's response headers. Models think for ten minutes before they answer; a shorter wait cuts such requests off and pays for them all the same.",
  },
  adminListen: {
    env: 'TIDEGATE_ADMIN_LISTEN',
    group: 'control',
    parser: LISTEN_ADDRESS,
    absent: { text: '127.0.0.1:8788' },
    meaning:
      'Where health, metrics, status and operator commands are. Off loopback it needs an admin token.',
  },
  adminToken: {
    env: 'TIDEGATE_ADMIN_TOKEN',
    group: 'control',
    parser: SECRET,
    absent: { means: 'no token' },
    meaning:
      'Bearer token of the control plane. Whoever reaches an open control plane can clear cooldowns and reset budgets.',
    secret: true,
  },
  state: {
    env: 'TIDEGATE_STATE',
    group: 'state',
    parser: STATE_STORE,
    absent: { text: 'file:./data/state.json' },
    meaning:
      'Where Tidegate remembers windows, budgets and cooldowns. It must survive restarts: put it on a disk that does. `file:` is readable and needs nothing; `sqlite:` is for many scopes, and for tools that read databases. `postgres:` is for several instances that share one budget.',
  },
  onCorruptState: {
    env: 'TIDEGATE_ON_CORRUPT_STATE',
    group: 'state',
    parser: oneOf<LossPolicy['onCorrupt']>(['cautious', 'refuse']),
    absent: { text: 'cautious' },
    meaning:
      'When the state cannot be read: `cautious` sets it aside and lets little through until the upstream has been heard or a window has passed; `refuse` stops the start with exit code 78.',
  },
  onEmptyState: {
    env: 'TIDEGATE_ON_EMPTY_STATE',
    group: 'state',
    parser: oneOf<LossPolicy['onEmpty']>(['trust', 'cautious']),
    absent: { text: 'trust' },
    meaning:
      'When there is no state at all: `trust` takes it for a first start with an unused window; `cautious` treats it as lost, for replicas whose volume may vanish.',
  },
  budget: {
    env: 'TIDEGATE_BUDGET',
    group: 'budget',
    parser: countOr('learn', '1_000_000'),
    absent: { text: 'learn' },
    meaning:
      "Tokens that may be spent in one window. `learn`: no budget until the upstream's limit headers or refusals have shown where the limit is. The controller moves the budget between 30 % and 200 % of this figure.",
  },
  window: {
    env: 'TIDEGATE_WINDOW',
    group: 'budget',
    // A second is the shortest window whose end `retry-after`, in whole seconds, can still express.
    parser: duration({ min: SECOND, max: 366 * DAY }, '5h'),
    absent: { text: '5h' },
    meaning: "Length of the upstream's rate-limit window.",
  },
  windowKind: {
    env: 'TIDEGATE_WINDOW_KIND',
    group: 'budget',
    parser: oneOf<WindowKind>(['fixed', 'sliding', 'bucket']),
    absent: { text: 'fixed' },
    meaning:
      '`fixed`: begins with the first request, ends after its length or at the reset the upstream states. `sliding`: what was spent within its length before now. `bucket`: refilled without pause, a whole budget in its length; what the limits of API keys are.',
  },
  mode: {
    env: 'TIDEGATE_MODE',
    group: 'budget',
    parser: oneOf<Config['mode']>(['enforce', 'observe']),
    absent: { text: 'enforce' },
    meaning:
      '`enforce` refuses what would exceed a limit; `observe` decides, counts and logs the same but lets everything pass: for a trial.',
  },
  backoff: {
    env: 'TIDEGATE_BACKOFF',
    group: 'backoff',
    parser: ladder({ min: 10, max: DAY }, '30s,60s,120s'),
    absent: { text: '30s,60s,120s,240s,300s' },
    meaning:
      'Waits after refusals in a row that state none; the last one repeats. A wait the upstream states is kept, never shortened, and up to 10 % longer.',
  },
  probeEvery: {
    env: 'TIDEGATE_PROBE_EVERY',
    group: 'backoff',
    parser: duration({ min: 100, max: 7 * DAY, zero: 'never' }, '1h'),
    absent: { text: '1h' },
    meaning:
      'What keeps requests out for longer than this, a long cooldown or a learned budget that is used up, is tried with one request this often all the same: quotas are sometimes reset early.',
  },
  maxRetryAfter: {
    env: 'TIDEGATE_MAX_RETRY_AFTER',
    group: 'backoff',
    parser: duration({ min: SECOND, max: HOUR }, '59s'),
    absent: { text: '59s' },
    meaning:
      "Longest `retry-after` in Tidegate's own refusals. All clients keep a wait of up to 59s; above it some retry at once and some give up.",
  },
  tick: {
    env: 'TIDEGATE_TICK',
    group: 'job',
    parser: duration({ min: 10, max: HOUR }, '1m'),
    absent: { text: '1m' },
    meaning:
      'How often the scheduled job ends windows that nobody touches and weighs whether a budget may rise.',
  },
  nudge: {
    env: 'TIDEGATE_NUDGE',
    group: 'job',
    // The smallest share that can be written; 0 would be a controller that pretends to work.
    parser: percent(0.000_01, 0.5, '3%'),
    absent: { text: '3%' },
    meaning:
      'By how much of itself a budget rises in one step, and by one token or request at least.',
  },
  nudgeEvery: {
    env: 'TIDEGATE_NUDGE_EVERY',
    group: 'job',
    parser: duration({ min: 100, max: 30 * DAY }, '1h'),
    absent: { text: '1h' },
    meaning: 'A budget rises at most this often.',
  },
  minTraffic: {
    env: 'TIDEGATE_MIN_TRAFFIC',
    group: 'job',
    parser: duration({ min: 0, max: 30 * DAY }, '1h'),
    absent: { text: '1h' },
    meaning:
      'No budget rises before this long after the first request ever admitted; restarts do not begin it anew.',
  },
  minUsed: {
    env: 'TIDEGATE_MIN_USED',
    group: 'job',
    parser: percent(0, 1, '5%'),
    absent: { text: '5%' },
    meaning:
      'No budget rises unless this much of it was used in the window: an idle window is not headroom.',
  },
  drain: {
    env: 'TIDEGATE_DRAIN',
    group: 'process',
    parser: duration({ min: 0, max: HOUR }, '30s'),
    absent: { text: '30s' },
    meaning:
      'How long running streams may go on after SIGTERM. Give the process manager a longer stop timeout than this.',
  },
  accessLog: {
    env: 'TIDEGATE_ACCESS_LOG',
    group: 'process',
    parser: LOG_FILE,
    absent: { means: 'none is kept' },
    meaning:
      'A file that gets one JSON line for each metered request: what was decided, what it cost, how long it took; no content. It is rotated at 64 MiB, and five older ones are kept. Each instance needs a file of its own.',
  },
  instance: {
    env: 'TIDEGATE_INSTANCE',
    group: 'process',
    parser: INSTANCE_NAME,
    absent: { means: '`<hostname>:<port of the proxy>`' },
    meaning:
      'Name of this process in the state; must stay the same over restarts and differ from that of every other instance.',
  },
} as const satisfies Record<string, Setting>;

/** Names the file with all the others, so it has no key there. */
export const CONFIG_FILE = {
  env: 'TIDEGATE_CONFIG',
  group: 'process',
  parser: FILE_NAME,
  absent: { means: 'no file' },
  meaning: 'A YAML file with any of these settings, and more. The environment wins over the file.',
} as const satisfies Setting;
