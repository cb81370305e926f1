import type { Config, UpstreamConfig } from '../config/config.js';
import { bearerToken, fingerprint } from '../config/fingerprint.js';
import { didYouMean } from '../config/suggest.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';

/** Longer than any key or token in use; a whole file piped in by mistake is longer. */
const MOST_BYTES = 16_384;

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, { upstream: { type: 'string' } });
  const key = chooseKey(mustLoadFrom(terminal), options.upstream);
  if (terminal.interactive) terminal.err('Paste the credential, then press Enter and Ctrl-D:\n');
  const credential = readCredential(await terminal.readInput(MOST_BYTES));
  terminal.out(`${fingerprint(key, credential)}\n`);
  return EXIT.ok;
};

function chooseKey({ upstreams }: Config, name: string | undefined): string {
  if (name === undefined) return onlyKey(upstreams);
  const upstream = upstreams.find((candidate) => candidate.name === name);
  if (upstream === undefined) {
    const names = upstreams.map((candidate) => candidate.name);
    throw new UsageError(
      `There is no upstream ${JSON.stringify(name)}.${didYouMean(name, names)} ` +
        `There is: ${names.join(', ')}`,
    );
  }
  return upstream.fingerprintKey ?? noKey(`The upstream ${name} has no fingerprintKey.`);
}

function onlyKey(upstreams: readonly UpstreamConfig[]): string {
  const withKey = upstreams.filter(({ fingerprintKey }) => fingerprintKey !== null);
  if (withKey.length > 1) {
    const names = withKey.map((upstream) => upstream.name).join(', ');
    throw new UsageError(`Say which upstream's key: --upstream with one of ${names}`);
  }
  return withKey[0]?.fingerprintKey ?? noKey('No upstream has a fingerprintKey.');
}

function noKey(what: string): never {
  throw new UsageError(
    `${what} Add one to the upstream in the file of TIDEGATE_CONFIG: what "openssl rand -hex 24" prints`,
  );
}

/**
 * The credential as the proxy will see it: without the line break, and without the scheme of a
 * header.
 */
function readCredential(input: string): string {
  if (Buffer.byteLength(input) > MOST_BYTES) {
    throw new UsageError('There is far more on stdin than one credential.');
  }
  const text = input.trim();
  if (text === '') {
    throw new UsageError(
      'There is no credential on stdin. Pipe it in: printenv KEY | tidegate fingerprint',
    );
  }
  const credential = bearerToken(text) ?? text;
  if (/\s/.test(credential)) throw new UsageError('There is more than one word on stdin.');
  return credential;
}
