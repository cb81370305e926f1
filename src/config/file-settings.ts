/** The settings that only the file has: what an entry of its lists `upstreams`, `limits` and `scopes` may hold. */
import type { Unit } from '../state/scope-state.js';
import type { UpstreamConfig } from './config.js';
import {
  FINGERPRINT,
  HEADER_NAME,
  HEADER_VALUE,
  name,
  oneOf,
  ORGANIZATION,
  SECRET,
} from './parse.js';
import { JSON_PATH, METERED_PATHS, MODEL_PATTERNS } from './parse-api.js';
import { LISTEN_ADDRESS } from './parse-places.js';
import { SETTINGS, type Setting } from './settings.js';

/** An entry of `upstreams` in the file. */
export const UPSTREAM_SETTINGS = {
  name: {
    env: null,
    group: 'file',
    parser: name('anthropic'),
    absent: { means: "its dialect's name" },
    meaning:
      'Stable name of the upstream and of its default scope. The memory is kept under it: a new name starts with an empty one.',
  },
  url: { ...SETTINGS.upstream, env: null, group: 'file', absent: { error: true } },
  dialect: { ...SETTINGS.dialect, env: null, group: 'file' },
  listen: {
    env: null,
    group: 'file',
    parser: LISTEN_ADDRESS,
    absent: {
      means: '`127.0.0.1:8787` for an only upstream; must be given when there are several',
    },
    meaning: 'Where agents reach this upstream. Each upstream has a listener of its own.',
  },
  timeout: { ...SETTINGS.upstreamTimeout, env: null, group: 'file' },
  streamUsage: {
    env: null,
    group: 'file',
    parser: oneOf<UpstreamConfig['streamUsage']>(['ask', 'leave']),
    absent: { means: '`ask`; `leave` for openrouter.ai and api.mistral.ai' },
    meaning:
      'For `openai`. `ask`: a stream of Chat Completions whose client did not ask for its usage is sent on with `stream_options.include_usage`, and the chunk that comes of it is taken out again. `leave`: no request is touched, and a stream that states no usage is settled by its estimate and by what was relayed. For upstreams that refuse the option, or state the usage unasked.',
  },
  cachedInput: {
    env: null,
    group: 'file',
    parser: oneOf<UpstreamConfig['cachedInput']>(['counted', 'free']),
    absent: { means: '`counted`; `free` for api.groq.com' },
    meaning:
      "For `openai`. Whether the upstream's limits count the part of a prompt that comes from its cache.",
  },
  meteredPaths: {
    env: null,
    group: 'file',
    parser: METERED_PATHS,
    absent: { means: 'every path' },
    meaning:
      'For `generic`. Paths whose POST, PUT and PATCH requests spend the limits, as clients send them: without the base path of `url`, and without the query. Everything else passes and costs nothing.',
  },
  inputTokensAt: {
    env: null,
    group: 'file',
    parser: JSON_PATH,
    absent: { means: 'not read' },
    meaning:
      'For `generic`. Where an answer states the tokens of the request: in its JSON, or in the data of its server-sent events, where the newest figure counts. If the API states one total only, name it here and leave `outputTokensAt` out. An answer without it keeps its estimate.',
  },
  outputTokensAt: {
    env: null,
    group: 'file',
    parser: JSON_PATH,
    absent: { means: 'not read' },
    meaning: 'For `generic`. The same for the tokens of the answer.',
  },
  fingerprintKey: {
    env: null,
    group: 'file',
    parser: SECRET,
    absent: { means: 'no scopes by key' },
    meaning:
      'Key of the fingerprints by which scopes name credentials. Another key makes other fingerprints.',
    secret: true,
  },
} as const satisfies Record<string, Setting>;

/** An entry of `limits`. */
export const LIMIT_SETTINGS = {
  name: {
    env: null,
    group: 'file',
    parser: name('tokens'),
    absent: { means: "its unit's name" },
    meaning: 'Stable name of the limit. Its memory is kept under it.',
  },
  unit: {
    env: null,
    group: 'file',
    parser: oneOf<Unit>(['tokens', 'input_tokens', 'output_tokens', 'requests']),
    absent: { means: '`tokens`; `requests` for `generic` without paths to tokens' },
    meaning: 'What it counts.',
  },
  window: { ...SETTINGS.window, env: null, group: 'file' },
  kind: { ...SETTINGS.windowKind, env: null, group: 'file' },
  budget: {
    ...SETTINGS.budget,
    env: null,
    group: 'file',
    meaning: 'What may be spent in one window, in `unit`; or `learn`.',
  },
  models: {
    env: null,
    group: 'file',
    parser: MODEL_PATTERNS,
    absent: { means: 'every request' },
    meaning:
      'Makes the limit a pool of these models: only their requests are charged to it, refused for it, and held back while the upstream refuses them for it. A request whose model is not known counts as one of them.',
  },
} as const satisfies Record<string, Setting>;

/** An entry of `scopes`. */
export const SCOPE_SETTINGS = {
  name: {
    env: null,
    group: 'file',
    parser: name('research'),
    absent: { error: true },
    meaning:
      "Stable name within the upstream. The memory is kept under `<upstream's name>/<scope's name>`.",
  },
  header: {
    env: null,
    group: 'file',
    parser: HEADER_NAME,
    absent: { means: 'matched by another' },
    meaning: 'The scope takes requests with this header; needs `value`.',
  },
  value: {
    env: null,
    group: 'file',
    parser: HEADER_VALUE,
    absent: { means: 'matched by another' },
    meaning: 'Exact value of `header`.',
    secret: true,
  },
  keyFingerprint: {
    env: null,
    group: 'file',
    parser: FINGERPRINT,
    absent: { means: 'matched by another' },
    meaning:
      'The scope takes requests with the credential of this fingerprint, which `tidegate fingerprint` prints; needs `fingerprintKey` in the upstream.',
    secret: true,
  },
  organization: {
    env: null,
    group: 'file',
    parser: ORGANIZATION,
    absent: { means: 'matched by another' },
    meaning:
      "The scope takes requests with a credential of this organization, as the upstream's answers name it (`anthropic-organization-id`). The first request with a credential goes to the default scope; from its answer on it is known, restarts included. Needs `fingerprintKey` in the upstream.",
  },
} as const satisfies Record<string, Setting>;
