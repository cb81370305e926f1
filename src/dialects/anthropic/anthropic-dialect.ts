import type { Dialect } from '../dialect.js';
import { readLimitSignals } from './limit-headers.js';
import { localAnswer } from './local-answer.js';
import { mayRefuse, readRefusal } from './refusal.js';
import { readRequest } from './request-facts.js';
import { openUsageReader } from './usage.js';

/**
 * The Messages API spends the limits. Counting tokens, batches and models have limits of their own
 * or none (wire facts §1.3). A server may take slashes and letters more loosely than its
 * documentation: metering one request that fails costs nothing, and one that passes unmetered is the
 * mistake this exists to prevent.
 */
const MESSAGES_PATH = /^\/+v1\/+messages\/*$/i;

/** Anthropic's API as api.anthropic.com speaks it, to API keys and to subscriptions. */
export const ANTHROPIC: Dialect = {
  name: 'anthropic',
  organizationHeader: 'anthropic-organization-id',
  pointer: (proxyUrl) => `ANTHROPIC_BASE_URL=${proxyUrl}`,
  isMetered: (method, path) => method === 'POST' && (path === null || MESSAGES_PATH.test(path)),
  readRequest: (headers, body) => readRequest(headers, body),
  openUsageReader,
  readLimitSignals,
  mayRefuse,
  readRefusal,
  localAnswer,
};
