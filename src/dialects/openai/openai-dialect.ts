import type { Dialect } from '../dialect.js';
import { isEventStream } from '../sse.js';
import { readLimitSignals } from './limit-headers.js';
import { localAnswer } from './local-answer.js';
import { mayRefuse, readRefusal } from './refusal.js';
import { isMetered, readRequest } from './request-facts.js';
import { askForUsage } from './stream-options.js';
import { UsageChunkFilter } from './usage-chunk-filter.js';
import { openUsageReader, type CachedInput } from './usage.js';

export interface OpenAiSettings {
  readonly cachedInput: CachedInput;
  /** `ask`: a stream that states no usage is made to; `leave`: no request is touched. */
  readonly streamUsage: 'ask' | 'leave';
}

/**
 * Chat Completions and Responses as OpenAI speaks them, and with it Azure, Groq, Mistral,
 * OpenRouter, Gemini's compatible endpoint and many servers of one's own (wire facts §3).
 */
export function openAiDialect({ cachedInput, streamUsage }: OpenAiSettings): Dialect {
  const dialect: Dialect = {
    name: 'openai',
    organizationHeader: 'openai-organization',
    pointer,
    isMetered,
    readRequest: (headers, body, path) => readRequest(headers, body, path),
    openUsageReader: (contentType) => openUsageReader(contentType, cachedInput),
    readLimitSignals,
    mayRefuse,
    readRefusal,
    localAnswer,
  };
  return streamUsage === 'leave' ? dialect : { ...dialect, shapeRequest };
}

/** The base URL of OpenAI's clients ends in the version, and Azure's clients have a variable of their own. */
function pointer(proxyUrl: string, { hostname, pathname }: URL): string {
  if (hostname.endsWith('.azure.com')) return `AZURE_OPENAI_ENDPOINT=${proxyUrl}`;
  const version = hostname === 'generativelanguage.googleapis.com' ? '/v1beta/openai' : '/v1';
  return `OPENAI_BASE_URL=${proxyUrl}${pathname.endsWith(version) ? '' : version}`;
}

const shapeRequest: NonNullable<Dialect['shapeRequest']> = (path, headers, body) => {
  const asked = askForUsage(path, headers, body);
  if (asked === null) return null;
  return {
    ...asked,
    openFilter: (contentType) => (isEventStream(contentType) ? new UsageChunkFilter() : null),
    // Mistral of old answers 422, others 400; both name what they do not know (wire facts §3.2).
    mayReject: (status) => status === 400 || status === 422,
    isRejected: (answer) => answer.includes('stream_options') || answer.includes('include_usage'),
  };
};
