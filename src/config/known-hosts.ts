import type { DialectName } from '../dialects/dialect.js';

/** What is known of the API behind a host; wire facts §3 has the sources. */
export interface KnownApi {
  readonly dialect: DialectName;
  /** Whether its limits count prompt tokens that came from the cache. */
  readonly cachedInput: 'counted' | 'free';
  /** Whether it must be asked for the usage of a stream, and may be. */
  readonly streamUsage: 'ask' | 'leave';
}

const OPENAI: KnownApi = { dialect: 'openai', cachedInput: 'counted', streamUsage: 'ask' };

/** A name that begins with a dot stands for every host below it. */
const APIS: readonly (readonly [host: string, api: KnownApi])[] = [
  ['api.openai.com', OPENAI],
  // Data residency: `eu.api.openai.com`.
  ['.api.openai.com', OPENAI],
  ['.openai.azure.com', OPENAI],
  ['.services.ai.azure.com', OPENAI],
  ['.cognitiveservices.azure.com', OPENAI],
  ['generativelanguage.googleapis.com', OPENAI],
  ['api.groq.com', { ...OPENAI, cachedInput: 'free' }],
  // These two state the usage of every stream unasked, and the first refused to be asked.
  ['api.mistral.ai', { ...OPENAI, streamUsage: 'leave' }],
  ['openrouter.ai', { ...OPENAI, streamUsage: 'leave' }],
];

/** Any other host speaks Anthropic's until told otherwise. */
const UNKNOWN: KnownApi = { ...OPENAI, dialect: 'anthropic' };

export function apiOf(hostname: string): KnownApi {
  const known = APIS.find(([host]) =>
    host.startsWith('.') ? hostname.endsWith(host) : hostname === host,
  );
  return known?.[1] ?? UNKNOWN;
}
