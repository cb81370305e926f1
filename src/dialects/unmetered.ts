import { ANTHROPIC } from './anthropic/anthropic-dialect.js';
import type { DialectName } from './dialect.js';
import { isMetered as isMeteredByOpenAi } from './openai/request-facts.js';

/**
 * Of a request that its dialect does not meter, the dialect that would; null: none, or that is meant. What an
 * address that nobody knows speaks can't be told from it, and a wrong guess lets everything pass.
 */
export function meteredByAnother(
  dialect: DialectName,
  method: string,
  path: string,
): DialectName | null {
  switch (dialect) {
    case 'anthropic':
      return isMeteredByOpenAi(method, path) ? 'openai' : null;
    case 'openai':
      return ANTHROPIC.isMetered(method, path) ? 'anthropic' : null;
    case 'generic':
      // The operator has said which paths count.
      return null;
  }
}
