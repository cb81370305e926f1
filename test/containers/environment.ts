import { SETTINGS } from '../../src/config/settings.js';
import { load, mistakes } from '../config/load.js';

/** Handed over as a secret, so it stands in no file. */
const SECRETS = { TIDEGATE_ADMIN_TOKEN: 'a-token-of-sixteen-or-more' };

/** What Tidegate says of an environment that a container would start with; nothing if it is in order. */
export function complaints(environment: Readonly<Record<string, string>>): readonly string[] {
  const env = { ...SECRETS, ...environment };
  return [...mistakes(env), ...load(env).warnings];
}

/** How long the drain takes that an environment asks for, in seconds. */
export function drainSeconds({ TIDEGATE_DRAIN: text }: Readonly<Record<string, string>>): number {
  const drain = SETTINGS.drain.parser.parse(text ?? SETTINGS.drain.absent.text);
  if (!drain.ok) throw new Error(`the drain can’t be read: ${text}`);
  return drain.value / 1_000;
}
