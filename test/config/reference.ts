/**
 * docs/reference/configuration.md, made from the table of settings; test/config/reference.test.ts
 * keeps them equal.
 */
import { BOUNDS } from '../../src/state/scope-state.js';
import {
  LIMIT_SETTINGS,
  SCOPE_SETTINGS,
  UPSTREAM_SETTINGS,
} from '../../src/config/file-settings.js';
import { CONFIG_FILE, SETTINGS, type Group, type Setting } from '../../src/config/settings.js';

export interface ExitCodeRow {
  readonly code: number;
  readonly meaning: string;
}

const GROUPS: readonly (readonly [Group, string])[] = [
  ['proxy', 'The proxy and its upstream'],
  ['control', 'The control plane'],
  ['state', 'State'],
  ['budget', 'Budget'],
  ['backoff', 'Backoff'],
  ['job', 'The controller and the scheduled job'],
  ['process', 'The process'],
];

/** A whole file with several upstreams, limits and scopes. */
export const EXAMPLE_FILE = `# TIDEGATE_CONFIG=./tidegate.yaml tidegate serve
adminListen: 0.0.0.0:8788
adminToken: replace-me-with-openssl-rand-hex-24
state: file:/var/lib/tidegate/state.json
backoff: [30s, 60s, 120s, 240s, 300s]
nudge: 3%

upstreams:
  - name: subscription
    url: https://api.anthropic.com
    listen: 127.0.0.1:8787
    limits:
      - name: 5h
        window: 5h
        budget: 1_000_000
      - name: 7d
        window: 7d
        budget: learn
      # A pool: counts and holds back the requests of these models only.
      - name: 7d_opus
        window: 7d
        models: ["claude-opus-*"] # quotes: YAML has a meaning of its own for *

  - name: keys
    url: https://api.anthropic.com
    listen: "[::1]:8789" # quotes: YAML takes a bare [ for a list
    timeout: 10m
    fingerprintKey: replace-me-too-with-openssl-rand-hex-24
    limits:
      - unit: input_tokens
        window: 1m
        budget: 400_000
      - unit: requests
        window: 1m
        budget: 50
    scopes:
      # Has the same limits as the upstream, and a memory of its own.
      - name: research
        header: x-team
        value: research
      - name: batch
        keyFingerprint: 3f2a9c0d5b7e1846
        limits:
          - unit: requests
            window: 1m
            budget: 5
`;

/** The same as its readers are to make it: with secrets of their own. */
export const FILLED_EXAMPLE_FILE = EXAMPLE_FILE.replace(/replace-me-\S+/g, '7c1d'.repeat(12));

export function renderReference(exitCodes: readonly ExitCodeRow[]): string {
  const groups = GROUPS.flatMap(([group, title]) => [`## ${title}`, '', ...groupTable(group), '']);
  const exits = exitCodes.map(({ code, meaning }) => `| ${code} | ${meaning} |`);
  return [
    ...INTRODUCTION,
    ...groups,
    ...fileChapter(),
    ...OUTGOING,
    '## Exit codes',
    '',
    '| code | meaning |',
    '|---|---|',
    ...exits,
    '',
  ].join('\n');
}

const INTRODUCTION = [
  '# Configuration',
  '',
  '<!-- Made from src/config/settings.ts and file-settings.ts. After a change there: UPDATE_DOCS=1 npx vitest run test/config/reference.test.ts -->',
  '',
  'Tidegate reads its configuration once, at the start: environment variables over the file named by',
  '`TIDEGATE_CONFIG` over the defaults. An empty variable counts as not set. With no configuration at',
  'all it listens on `127.0.0.1:8787` for `https://api.anthropic.com` and learns the budget.',
  '',
  '`tidegate check-config` shows what is in effect, or every mistake at once, without starting anything;',
  '`--json` prints the same as data. `tidegate serve` refuses to start on any mistake, with exit code 78.',
  'A `TIDEGATE_…` variable that does not exist is a warning; an unknown key in the file is a mistake.',
  'Secrets are never printed.',
  '',
  'How values are written:',
  '',
  '- Durations: whole numbers with `ms`, `s`, `m`, `h` or `d`: `250ms`, `30s`, `5m`, `1h30m`, `7d`.',
  '- Percentages always with the sign: `3%`, `0.5%`.',
  '- Counts: `1000000` or `1_000_000`.',
  '- Addresses with host and port: `127.0.0.1:8787`, `[::1]:8787`, `0.0.0.0:8787` for every interface.',
  '',
];

const OUTGOING = [
  '## Outgoing connections',
  '',
  'Variables that other programs read, too:',
  '',
  '| environment | meaning |',
  '|---|---|',
  '| `HTTPS_PROXY`, `https_proxy` | The proxy on the way to upstreams with `https`: `http://host:port` or `https://host:port`, with `user:password@` before the host where it asks for them. Requests go through a tunnel (CONNECT): it sees none of them. `HTTP_PROXY` for want of it. SOCKS is not supported, and `ALL_PROXY` is not read. |',
  '| `HTTP_PROXY`, `http_proxy` | The same for upstreams with `http`. |',
  '| `NO_PROXY`, `no_proxy` | Who is reached without it, separated by commas or spaces: `api.example.com` and all names that end in it, `*.example.com` for these alone, `host:port`, `*` for everybody. |',
  '| `NODE_EXTRA_CA_CERTS` | A file with certificates, as PEM, of authorities to trust besides those that Node.js knows: for an upstream or a proxy with a certificate of your own. Node.js reads it at its start, and only warns if it cannot. |',
  '',
  'The name in lower case wins. `check-config` shows, without user and password, which proxy each upstream is reached through.',
  'Connections to Postgres use none of them but the last.',
  '',
];

function groupTable(group: Group): readonly string[] {
  const rows = [...Object.entries(SETTINGS), [null, CONFIG_FILE] as const]
    .filter(([, setting]) => setting.group === group)
    .map(([key, setting]) => {
      const names = key === null ? `\`${setting.env}\`` : `\`${setting.env}\`<br>\`${key}\``;
      return tableRow(names, setting);
    });
  return ['| environment<br>file | default | meaning | allowed |', '|---|---|---|---|', ...rows];
}

function keyTable(table: Readonly<Record<string, Setting>>): readonly string[] {
  const rows = Object.entries(table).map(([key, setting]) => tableRow(`\`${key}\``, setting));
  return ['| key | default | meaning | allowed |', '|---|---|---|---|', ...rows];
}

function tableRow(names: string, setting: Setting): string {
  const { absent, meaning, parser } = setting;
  const fallback =
    'text' in absent ? `\`${absent.text}\`` : 'means' in absent ? absent.means : 'must be given';
  return `| ${names} | ${fallback} | ${meaning} | ${parser.allowed} |`;
}

function fileChapter(): readonly string[] {
  return [
    '## The file',
    '',
    'YAML. At the top it takes every setting above by its second name, and in place of `upstream` a list',
    `\`upstreams\`: each with a listener of its own and 1 to ${BOUNDS.limits} limits; and at most ${BOUNDS.scopes} scopes over all of`,
    'them, each default scope counted. Beside `upstreams`, the plain settings of one upstream are refused',
    '(`listen`, `upstream`, `dialect`, `upstreamTimeout`, `budget`, `window`, `windowKind`): they belong into',
    'its entry. Their environment variables override an only upstream and its only limit, and are refused',
    'where it is not clear which one they are for.',
    '',
    'Protect the file like a password if it holds `adminToken` or a `fingerprintKey`. The two below are placeholders, which a start refuses.',
    '',
    '```yaml',
    ...EXAMPLE_FILE.trimEnd().split('\n'),
    '```',
    '',
    '### An entry of `upstreams`',
    '',
    ...keyTable(UPSTREAM_SETTINGS),
    '| `limits` | one limit with its defaults | What the upstream limits; charged together, all or none. | a list |',
    '| `scopes` | none | Parts of the traffic with limits of their own upstream. Tried in order; what fits none falls into the default scope. | a list |',
    '',
    '### An entry of `limits`',
    '',
    ...keyTable(LIMIT_SETTINGS),
    '',
    '### An entry of `scopes`',
    '',
    ...keyTable(SCOPE_SETTINGS),
    "| `limits` | the upstream's | Limits of this scope. Either way its memory is its own. | a list |",
    '',
  ];
}
