import { describe, expect, test } from 'vitest';
import { NO_FILES } from '../config/load.js';
import { UsageError } from '../../src/cli/arguments.js';
import { describeFault, runCommandLine } from '../../src/cli/cli.js';
import { EXIT_CODES, EXIT_OF_ERROR } from '../../src/cli/exit-codes.js';
import type { Terminal } from '../../src/cli/terminal.js';
import { TidegateError } from '../../src/platform/tidegate-error.js';

describe('a fault that ends a command', () => {
  test('of Tidegate has its message, its hint and its exit code', () => {
    const fault = new TidegateError('STATE_LOCKED', 'box:8787 (pid 12) holds the state.', {
      hint: 'stop it, or give this one a state of its own',
    });
    expect(describeFault(fault, 'serve')).toEqual({
      text: 'tidegate: box:8787 (pid 12) holds the state.\nWhat to do: stop it, or give this one a state of its own\n',
      code: 75,
    });
    expect(describeFault(new TidegateError('STATE_NEWER', 'x'), 'serve')).toEqual({
      text: 'tidegate: x\n',
      code: 78,
    });
  });

  test.each([['state', 'show'], ['events'], ['explain', 'tg_1'], ['migrate'], ['serve']])(
    'of the configuration is told once, after what has no effect in it: %s',
    async (...args) => {
      let err = '';
      const machine = { ...NO_FILES, readFile: () => '' };
      const written = { out: () => {}, err: (text: string) => void (err += text) };
      const terminal = {
        ...written,
        env: { TIDEGATE_TICK: 'x', TIDEGATE_STAET: 'sqlite:state.db' },
        cwd: '/',
        machine,
        watched: false,
      };
      expect(await runCommandLine(args, terminal as unknown as Terminal)).toBe(78);
      expect(err).toMatch(
        /^tidegate: warning: TIDEGATE_STAET: .*\ntidegate: there is a mistake in the configuration\n  TIDEGATE_TICK/,
      );
      expect(err).toMatch(/\nWhat can be set: tidegate help settings\n$/);
    },
  );

  test('of the command line points at the help', () => {
    expect(describeFault(new UsageError('No.'), 'serve')).toEqual({
      text: 'tidegate: No.\nHelp: tidegate help serve\n',
      code: 64,
    });
  });

  test.each([
    ['EADDRINUSE', 75, 'is in use by another program'],
    ['EACCES', 78, 'this user may not open that port'],
    ['EADDRNOTAVAIL', 78, 'this machine has no such address'],
  ])('%s of a listener is explained', (code, exit, text) => {
    const error = Object.assign(new Error('listen failed'), {
      code,
      syscall: 'listen',
      address: '127.0.0.1',
      port: 80,
    });
    const fault = describeFault(error, 'serve');
    expect(fault.code).toBe(exit);
    expect(fault.text).toContain(text);
    expect(fault.text).toContain('127.0.0.1 port 80');
    expect(fault.text).not.toContain('    at ');
  });

  test.each([
    ['ENOTFOUND', 78, 'there is no address by that name (ENOTFOUND)'],
    ['EAI_AGAIN', 75, 'the name service does not answer'],
  ])('%s of a name to listen on is explained', (code, exit, text) => {
    const error = Object.assign(new Error('getaddrinfo'), {
      code,
      syscall: 'getaddrinfo',
      hostname: 'nohost.invalid',
    });
    const fault = describeFault(error, 'serve');
    expect(fault.code).toBe(exit);
    expect(fault.text).toContain(`cannot listen on nohost.invalid: ${text}`);
    expect(fault.text).not.toContain('    at ');
    expect(describeFault(error, 'events').code, 'another name').toBe(70);
  });

  test('that nobody expected keeps its stack', () => {
    const fault = describeFault(new TypeError('x is not a function'), 'serve');
    expect(fault.code).toBe(70);
    expect(fault.text).toMatch(/TypeError: x is not a function\n\s+at /);
    expect(describeFault('just text', 'serve')).toMatchObject({ code: 70 });
  });

  test('every exit code that a fault may have is explained', () => {
    const explained = EXIT_CODES.map(({ code }) => code);
    for (const code of Object.values(EXIT_OF_ERROR)) expect(explained).toContain(code);
    expect(new Set(explained).size).toBe(explained.length);
  });
});

test('a person who types the credential is told how to end it, on stderr', async () => {
  let out = '';
  let err = '';
  const file = 'upstreams: [{url: "https://api.anthropic.com", fingerprintKey: a-key-of-16-char}]';
  const terminal: Terminal = {
    env: { TIDEGATE_CONFIG: 'tidegate.yaml' },
    cwd: '/work',
    machine: { ...NO_FILES, readFile: () => file },
    interactive: true,
    watched: false,
    outFault: null,
    readInput: () => Promise.resolve('sk-1\n'),
    out: (text) => void (out += text),
    err: (text) => void (err += text),
  };
  expect(await runCommandLine(['fingerprint'], terminal)).toBe(0);
  expect(err).toBe('Paste the credential, then press Enter and Ctrl-D:\n');
  expect(out).toMatch(/^[0-9a-f]{16}\n$/);
});
