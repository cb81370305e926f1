import { didYouMean } from '../config/suggest.js';
import { UsageError } from './arguments.js';
import type { ExitCode } from './exit-codes.js';
import type { Terminal } from './terminal.js';

/** What a command's file exports as `run`. `args` are those after the command's name. */
export type Run = (args: readonly string[], terminal: Terminal) => Promise<ExitCode>;

type Load = () => Promise<{ readonly run: Run }>;

export interface Command {
  readonly name: string;
  /** One line, as in `tidegate help`. */
  readonly summary: string;
  /** After the name; empty if it takes nothing. */
  readonly synopsis: string;
  /** The rest of `tidegate help <name>`. */
  readonly details: readonly string[];
  /** Loaded only when asked for: `check-config` needs none of the server's packages. */
  readonly load: Load;
}

export const COMMANDS: readonly Command[] = [
  {
    name: 'serve',
    summary: 'Run the proxy and its control plane until SIGTERM or SIGINT',
    synopsis: '',
    details: [
      'Reads the configuration from the environment and the file named by TIDEGATE_CONFIG, and refuses',
      'to start (exit code 78) on any mistake in it. "tidegate help settings" lists what can be set.',
    ],
    load: () => import('./serve.js'),
  },
  {
    name: 'check-config',
    summary: 'Show the effective configuration, or every mistake in it',
    synopsis: '[--json]',
    details: [
      'Starts nothing and needs no running server. Exits with 0 if "tidegate serve" would take this',
      'configuration, else with 78. Secrets are never printed.',
      '',
      '  --json   {"ok": true, "config": …, "set": …, "warnings": …}, or',
      '           {"ok": false, "problems": …, "warnings": …}, on stdout either way',
    ],
    load: () => import('./check-config.js'),
  },
  {
    name: 'fingerprint',
    summary: 'Read a credential from stdin and print its fingerprint, for "scopes" in the file',
    synopsis: '[--upstream NAME]',
    details: [
      'The credential is what agents send as x-api-key (Azure: api-key, Gemini: x-goog-api-key), else as',
      'Bearer token. Its fingerprint depends on the fingerprintKey of the upstream, so the configuration',
      'must be valid. For example:',
      '',
      '  printenv ANTHROPIC_API_KEY | tidegate fingerprint --upstream keys',
      '',
      '  --upstream NAME   Whose fingerprintKey; can be left out if only one upstream has one',
    ],
    load: () => import('./fingerprint.js'),
  },
  {
    name: 'state',
    summary: 'Look at a store, check it, or copy it into another',
    synopsis: 'show [STORE] [--json] | check [STORE] | copy FROM TO [--force]',
    details: [
      'A STORE is written as in TIDEGATE_STATE: file:./data/state.json, sqlite:./data/state.db. Left out, it',
      'is the configured one.',
      '',
      '  show    What it remembers. Changes and locks nothing, and so works while it is in use',
      '          --json  all of it, as data',
      '  check   Whether it is whole: checksums, types, bounds, sums. The same goes for it',
      '  copy    Everything in FROM into TO, which is made if need be. No instance may use either of them',
      '          meanwhile. Charges of requests in flight are copied too, and count as orphaned once an',
      '          instance starts on TO. Scopes that only TO has are kept. Refused if TO has the newer state,',
      '          or if an instance that did not stop was heard of in either Postgres within three hours.',
      '          --force  copy all the same, and say in spite of what',
      '',
      'Exits with 78 if there is no such store, check and copy also if it is not whole; copy with 75 if one',
      'of them is in use.',
    ],
    load: subcommands('state', {
      show: () => import('./state-show.js'),
      check: () => import('./state-check.js'),
      copy: () => import('./state-copy.js'),
    }),
  },
  {
    name: 'limits',
    summary: "Fill the configuration with the limits that the provider's API states",
    synopsis: 'import [--model NAME]... [--write FILE] [--upstream NAME] [--api URL]',
    details: [
      "Asks Anthropic's limits API, which wants an Admin key: from ANTHROPIC_ADMIN_KEY, else from stdin. It",
      'is neither kept nor shown. Prints the "limits" of an upstream as YAML, to paste. What Tidegate does not',
      'count is left out, and said on stderr.',
      '',
      '  --model NAME      Only the limits of this model, and of those that share them; may be repeated',
      '  --write FILE      Put them into this file. Comments and all else stay as they are; a budget that is',
      "                    tighter than the provider's stays, too, and is said",
      '  --upstream NAME   In which upstream of the file, if it has several',
      '  --api URL         Where the API is, if not at https://api.anthropic.com',
      '',
      'For example:  tidegate limits import --model claude-opus-5 --write tidegate.yaml',
    ],
    load: subcommands('limits', { import: () => import('./limits-import.js') }),
  },
  {
    name: 'status',
    summary: 'Who is blocked, why, until when, and what to do',
    synopsis: '[--json] [--url URL]',
    details: [
      'Asks the control plane of the configured instance (TIDEGATE_ADMIN_LISTEN, TIDEGATE_ADMIN_TOKEN), and says',
      'what the page at / says there. All times are UTC. Exits with 75 if nobody answers.',
      '',
      '  --json      All figures, as in GET /status',
      '  --url URL   Another control plane, such as http://10.0.0.7:8788',
    ],
    load: () => import('./status.js'),
  },
  {
    name: 'events',
    summary: 'What happened: cooldowns, samples, moves of budgets, and why',
    synopsis: '[--follow] [--since 24h] [--scope NAME] [--json] [--url URL]',
    details: [
      'Asks the control plane of the configured instance (TIDEGATE_ADMIN_LISTEN, TIDEGATE_ADMIN_TOKEN). If',
      'none runs, reads the journal beside the state. Events are kept for 30 days.',
      '',
      '  --follow       Go on with what happens, as it happens, through restarts',
      '  --since 24h    How far back to begin; 24h otherwise',
      '  --scope NAME   Of one scope only',
      '  --json         One line of JSON for each, as in GET /events',
      '  --url URL      Another control plane, such as http://10.0.0.7:8788',
    ],
    load: () => import('./events.js'),
  },
  {
    name: 'explain',
    summary: 'Why a request was refused by Tidegate: which limit, its figures, when it frees',
    synopsis: 'REQUEST_ID [--json] [--url URL]',
    details: [
      'The id is what the refusal has in "tidegate-request-id", in its body, and in the log. Refusals can be',
      'explained for 24 hours, through restarts; with a postgres: store by any instance. Asks the control plane',
      'of the configured instance (TIDEGATE_ADMIN_LISTEN, TIDEGATE_ADMIN_TOKEN). Exits with 64 if nothing is',
      'known of the id.',
      '',
      '  --json      As in GET /explain/REQUEST_ID',
      '  --url URL   Another control plane, such as http://10.0.0.7:8788',
    ],
    load: () => import('./explain.js'),
  },
  {
    name: 'migrate',
    summary: 'Bring the tables of a postgres: store up to date',
    synopsis: '[--dry-run]',
    details: [
      'Instances do the same at their start, one after the other. By hand it is for a user with the right',
      'to create tables, where the one that Tidegate runs as has it not.',
      '',
      '  --dry-run   Only tell what is to be done',
    ],
    load: () => import('./migrate.js'),
  },
  {
    name: 'simulate',
    summary: 'Run the production rules on virtual time against a described upstream',
    synopsis: '--world FILE [--strategy NAME] [--seed N] [--json]',
    details: [
      'Shows in seconds what weeks would show: how much of a hidden limit is used, and how many 429s',
      'that costs. Opens no sockets and touches no state. The world file, in JSON or YAML, is explained',
      'in docs/concepts/controller.md. A mistake in it ends with exit code 78.',
      '',
      '  --world FILE      The upstream, the demand, and what goes wrong',
      '  --strategy NAME   tidegate, or for comparison: literal, amnesic, aimd',
      "  --seed N          Another run of the same world; the file's seed otherwise",
      '  --json            {"windows": …, "totals": …, "strategy", "seed"} on stdout',
    ],
    load: () => import('./simulate.js'),
  },
  {
    name: 'replay',
    summary: 'Replay an access log: which settings would have avoided which 429s',
    synopsis:
      'LOG [--scope NAME] [--window 5h] [--kind fixed] [--limit TOKENS] [--try SETTING]… [--json]',
    details: [
      'Infers the limit of the upstream from the refusals in the log, and runs the production rules over',
      'the logged requests, on virtual time, with each of several settings. Opens no sockets and touches',
      'no state. Lines that are none of an access log are told and left out.',
      '',
      '  --scope NAME      Needed if the log is of several',
      '  --window, --kind  How the upstream counts: a length, and fixed, sliding or bucket',
      '  --limit TOKENS    Its limit, where you know it',
      '  --try SETTING     budget=900000,window=5h,kind=sliding (each may be left out; budget=learn), up to',
      '                    20 times; else the budget learned, and 100, 97 and 90 % of the limit',
      '  --json            {"limit", "inferred", "logged", "settings": …} on stdout',
    ],
    load: () => import('./replay.js'),
  },
  {
    name: 'help',
    summary: 'Explain a command, or list the settings: tidegate help [COMMAND | settings]',
    synopsis: '[COMMAND | settings]',
    details: ['Prints to stdout and exits with 0.'],
    load: () => import('./help.js'),
  },
  {
    name: 'version',
    summary: 'Print the version; the same as --version',
    synopsis: '',
    details: ['Prints to stdout and exits with 0.'],
    load: () => import('./version.js'),
  },
];

/** A command that says with its first word what to do. */
function subcommands(command: string, loads: Readonly<Record<string, Load>>): Load {
  const names = Object.keys(loads);
  const run: Run = async ([name, ...args], terminal) => {
    if (name === undefined) throw new UsageError(`Say what to do: ${names.join(', ')}.`);
    const load = Object.hasOwn(loads, name) ? loads[name] : undefined;
    if (load !== undefined) return (await load()).run(args, terminal);
    const given = JSON.stringify(name);
    throw new UsageError(`"${command}" can't do ${given}.${didYouMean(name, names)}`);
  };
  return async () => ({ run });
}

export function findCommand(name: string): Command | undefined {
  return COMMANDS.find((command) => command.name === name);
}
