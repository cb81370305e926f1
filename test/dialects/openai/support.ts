import { headerFields } from '../../../src/dialects/header-fields.js';
import { openAiDialect, type OpenAiSettings } from '../../../src/dialects/openai/openai-dialect.js';

export function dialect(settings: Partial<OpenAiSettings> = {}) {
  return openAiDialect({ cachedInput: 'counted', streamUsage: 'ask', ...settings });
}

export const OPENAI = dialect();
export const NO_HEADERS = headerFields({});

/** One event of a stream that has no names, as Chat Completions has it. */
export const data = (value: unknown) =>
  `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
export const DONE = data('[DONE]');

export const chunk = (content: object | string, rest: object = {}) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1795400000,
  model: 'gpt-test',
  choices: [
    {
      index: 0,
      delta: typeof content === 'string' ? { content } : content,
      finish_reason: null,
    },
  ],
  ...rest,
});

export const usageChunk = (usage: object, rest: object = {}) =>
  chunk('', { choices: [], usage, ...rest });

/** One event of a Responses stream. */
export const event = (type: string, value: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...value })}\n\n`;
