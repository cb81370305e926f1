import type { ErrorCode } from '../platform/tidegate-error.js';

/**
 * The numbers are those of sysexits.h, so that a process manager can tell what a restart may
 * cure.
 */
export const EXIT = {
  ok: 0,
  usage: 64,
  software: 70,
  temporary: 75,
  config: 78,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** For the reference and `tidegate help`. */
export const EXIT_CODES: readonly { readonly code: ExitCode; readonly meaning: string }[] = [
  { code: EXIT.ok, meaning: 'Done, or stopped cleanly.' },
  { code: EXIT.usage, meaning: 'The command line is wrong.' },
  {
    code: EXIT.software,
    meaning: 'A fault in Tidegate itself. The state is intact; a restart goes on from it.',
  },
  {
    code: EXIT.temporary,
    meaning:
      'Not now: another instance holds the state or the port, the state or what a command prints cannot be written, or nobody answers. Later it may work.',
  },
  {
    code: EXIT.config,
    meaning:
      'The configuration, the state or the Node.js version is not usable as it is. A restart cures none of them.',
  },
];

/** How the process ends on a fault that was not handled before. */
export const EXIT_OF_ERROR: Readonly<Record<ErrorCode, ExitCode>> = {
  CONFIG_INVALID: EXIT.config,
  STATE_CORRUPT: EXIT.config,
  STATE_NEWER: EXIT.config,
  STATE_LOCKED: EXIT.temporary,
  STATE_UNAVAILABLE: EXIT.temporary,
  STATE_UNKNOWN: EXIT.temporary,
  STATE_CLOSED: EXIT.software,
};
