import type { Dialect } from '../dialect.js';
import { readRequest as readChat } from '../openai/request-facts.js';
import { openUsageReader as openChatUsage } from '../openai/usage.js';
import { readLimitSignals } from './limit-headers.js';
import { localAnswer } from './local-answer.js';
import { mayRefuse, readRefusal } from './refusal.js';
import { readRequest } from './request-facts.js';
import { openUsageReader } from './usage.js';

/**
 * The Messages API spends the limits, and so do its forerunner, Text Completions, and its layer for
 * clients of OpenAI's, which has the same limits (Claude docs, "OpenAI SDK compatibility", Rate
 * limits). Counting tokens, batches and models have limits of their own or none (wire facts §1.3). A server may take slashes and letters more loosely than its
 * documentation: metering one request that fails costs nothing, and one that passes unmetered is the
 * mistake this exists to prevent.
 */
const SPENDING_PATH = /^\/+v1\/+(?:messages|complete|chat\/+completions)\/*$/i;
/** Requests and answers of the layer are in OpenAI's shape. */
const CHAT = /^\/+v1\/+chat\//i;

/** Anthropic's API as api.anthropic.com speaks it, to API keys and to subscriptions. */
export const ANTHROPIC: Dialect = {
  name: 'anthropic',
  organizationHeader: 'anthropic-organization-id',
  pointer: (proxyUrl) => `ANTHROPIC_BASE_URL=${proxyUrl}`,
  isMetered: (method, path) => method === 'POST' && (path === null || SPENDING_PATH.test(path)),
  readRequest: (headers, body, path) =>
    CHAT.test(path) ? readChat(headers, body, path) : readRequest(headers, body),
  openUsageReader: (contentType, target) =>
    CHAT.test(target) ? openChatUsage(contentType, 'counted') : openUsageReader(contentType),
  readLimitSignals,
  mayRefuse,
  readRefusal,
  localAnswer,
};
