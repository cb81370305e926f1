import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { didYouMean } from '../config/suggest.js';

/** The command line itself is wrong; the message is for the person who typed it. Exit code 64. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

type Values<Options extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: Options; strict: true; allowPositionals: true }>
>['values'];

/**
 * Options and at most `mostWords` further words of a command. Throws UsageError for anything else.
 */
export function readArguments<const Options extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: Options,
  mostWords = 0,
): { readonly options: Values<Options>; readonly words: readonly string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options,
      strict: true,
      allowPositionals: true,
    });
    const surplus = positionals[mostWords];
    if (surplus !== undefined)
      throw new UsageError(`${JSON.stringify(surplus)} is one word too many.`);
    return { options: values, words: positionals };
  } catch (error) {
    throw explained(error, args, Object.keys(options));
  }
}

function explained(error: unknown, args: readonly string[], known: readonly string[]): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const names = known.map((name) => `--${name}`);
    const unknown = args
      .map((arg) => arg.replace(/=.*$/s, ''))
      .find((arg) => isUnknown(arg, names));
    const option = unknown ?? 'that';
    return new UsageError(`${option} is not an option here.${didYouMean(option, names)}`);
  }
  if (code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE' && error instanceof Error) {
    return new UsageError(`${error.message.split('\n')[0]}.`.replace(/\.\.$/, '.'));
  }
  return error;
}

function isUnknown(arg: string, names: readonly string[]): boolean {
  return arg.startsWith('-') && arg !== '-' && !names.includes(arg);
}
