import { stackOf, TidegateError } from '../platform/tidegate-error.js';
import { didYouMean } from '../config/suggest.js';
import { UsageError } from './arguments.js';
import { COMMANDS, findCommand } from './commands.js';
import { EXIT, EXIT_OF_ERROR, type ExitCode } from './exit-codes.js';
import { formatCommand, formatOverview } from './help.js';
import { THIS_TERMINAL, type Terminal } from './terminal.js';

/** Runs the command line of this process and sets its exit code; src/main.ts calls nothing else. */
export async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const code = await runCommandLine(args, THIS_TERMINAL);
  // It has closed what it opened, and bounds its own end: this one would wait for whatever hangs.
  if (args[0] === 'serve') {
    process.exitCode = code;
    return;
  }
  // An empty write comes back once everything before it has gone out or is lost.
  await new Promise((written) => process.stdout.write('', written));
  const end = code === EXIT.ok ? tellOfLoss(THIS_TERMINAL) : code;
  if (end !== EXIT.ok) process.stderr.write('', () => process.exit(end));
}

/** `tidegate help | head -1` reads no further, and that is no fault. */
function tellOfLoss({ outFault, err }: Terminal): ExitCode {
  if (outFault === null || outFault === 'EPIPE') return EXIT.ok;
  err(
    `tidegate: not all that was to be printed could be written (${outFault}).\n` +
      'What to do: see where stdout goes: is its disk full?\n',
  );
  return EXIT.temporary;
}

/** Never throws: every fault becomes text on stderr and an exit code. */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
): Promise<ExitCode> {
  try {
    return await dispatch(args, terminal);
  } catch (error) {
    const { text, code } = describeFault(error, args[0]);
    terminal.err(text);
    return code;
  }
}

async function dispatch(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const [first = 'help', ...rest] = args;
  const name = ALIASES.get(first) ?? first;
  const command = findCommand(name);
  if (command === undefined) {
    const isOption = first.startsWith('-');
    const names = isOption ? [...ALIASES.keys()] : COMMANDS.map((known) => known.name);
    const kind = isOption ? 'an option' : 'a command';
    terminal.err(
      `tidegate: ${JSON.stringify(first)} is not ${kind}.${didYouMean(first, names)}\n\n${formatOverview()}`,
    );
    return EXIT.usage;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    terminal.out(formatCommand(command));
    return EXIT.ok;
  }
  const { run } = await command.load();
  return run(rest, terminal);
}

const ALIASES = new Map([
  ['--help', 'help'],
  ['-h', 'help'],
  ['--version', 'version'],
  ['-v', 'version'],
]);

/** What a person is told about a fault that ended a command, and how the process ends. */
export function describeFault(
  error: unknown,
  command: string | undefined,
): { readonly text: string; readonly code: ExitCode } {
  if (error instanceof UsageError) {
    const help = `tidegate help ${command ?? ''}`.trimEnd();
    return { text: `tidegate: ${error.message}\nHelp: ${help}\n`, code: EXIT.usage };
  }
  if (error instanceof TidegateError) {
    const hint = error.hint === undefined ? '' : `What to do: ${error.hint}\n`;
    return { text: `tidegate: ${error.message}\n${hint}`, code: EXIT_OF_ERROR[error.code] };
  }
  const listen = describeNameFault(error, command) ?? describeListenFault(error);
  if (listen !== null) return listen;
  // Nobody expected this one: the stack is what whoever mends it needs.
  return { text: `tidegate: a fault in Tidegate itself: ${stackOf(error)}\n`, code: EXIT.software };
}

/** Where "serve" is to listen is the only name that it looks up itself. */
function describeNameFault(
  error: unknown,
  command: string | undefined,
): { readonly text: string; readonly code: ExitCode } | null {
  if (command !== 'serve' || !(error instanceof Error)) return null;
  const { syscall, code, hostname } = error as NodeJS.ErrnoException & { hostname?: string };
  if (syscall !== 'getaddrinfo') return null;
  const where = `tidegate: cannot listen on ${hostname ?? 'that name'}: `;
  return code === 'EAI_AGAIN'
    ? {
        text:
          `${where}the name service does not answer at the moment.\n` +
          'What to do: start it again later, or give an IP address in TIDEGATE_LISTEN and TIDEGATE_ADMIN_LISTEN.\n',
        code: EXIT.temporary,
      }
    : {
        text:
          `${where}there is no address by that name (${code}).\n` +
          'What to do: set TIDEGATE_LISTEN or TIDEGATE_ADMIN_LISTEN to an address of this machine.\n',
        code: EXIT.config,
      };
}

/** A port that can't be opened is the one system error that every operator meets. */
function describeListenFault(
  error: unknown,
): { readonly text: string; readonly code: ExitCode } | null {
  if (!(error instanceof Error) || !('syscall' in error) || error.syscall !== 'listen') return null;
  const { code, address, port } = error as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
  };
  const where = `${address ?? '?'} port ${port ?? '?'}`;
  if (code === 'EADDRINUSE') {
    return {
      text:
        `tidegate: ${where} is in use by another program, or by an instance that is still stopping.\n` +
        'What to do: end that one, or set TIDEGATE_LISTEN or TIDEGATE_ADMIN_LISTEN to a free port.\n',
      code: EXIT.temporary,
    };
  }
  const reason =
    code === 'EACCES'
      ? 'this user may not open that port'
      : code === 'EADDRNOTAVAIL'
        ? 'this machine has no such address'
        : error.message;
  return {
    text:
      `tidegate: cannot listen on ${where}: ${reason}.\n` +
      'What to do: set TIDEGATE_LISTEN or TIDEGATE_ADMIN_LISTEN to an address of this machine, port 1024 or above.\n',
    code: EXIT.config,
  };
}
