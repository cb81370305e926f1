import { STREAM_HEADERS, type Answer, type SeenRequest } from './fake-upstream.js';

/** What OpenAI's API and those like it say on the wire, for a fake upstream. */

export interface CompletionCost {
  readonly prompt?: number;
  readonly completion?: number;
}

const usageOf = ({ prompt = 10, completion = 5 }: CompletionCost) => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: prompt + completion,
});

export const asJson =
  (status: number, body: object, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    const all = { 'content-type': 'application/json', 'x-request-id': 'req_upstream', ...headers };
    response.writeHead(status, all).end(JSON.stringify(body));
  };

export function openAiError(status: number, type: string, code: string | null = null): Answer {
  return asJson(status, { error: { message: 'No.', type, param: null, code } });
}

export function jsonCompletion(cost: CompletionCost = {}): Answer {
  return asJson(200, {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_795_400_000,
    model: 'gpt-test',
    choices: [
      { index: 0, message: { role: 'assistant', content: 'Hello.' }, finish_reason: 'stop' },
    ],
    usage: usageOf(cost),
  });
}

/** Whether a request asks for the usage of its stream. */
export function asksForUsage({ body }: SeenRequest): boolean {
  const { stream_options: options } = JSON.parse(body.toString()) as {
    stream_options?: { include_usage?: boolean };
  };
  return options?.include_usage === true;
}

/** The events of a chat stream as the API sends them, with usage where it is asked for. */
export function completionEvents(cost: CompletionCost, asked: boolean, words = 3): string[] {
  const chunk = (choices: readonly object[], rest: object = {}) => ({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1_795_400_000,
    model: 'gpt-test',
    choices,
    ...(asked ? { usage: null } : {}),
    ...rest,
  });
  const choice = (delta: object, finish_reason: string | null = null) => [
    { index: 0, delta, finish_reason },
  ];
  return [
    chunk(choice({ role: 'assistant', content: '' })),
    ...Array.from({ length: words }, (_, word) => chunk(choice({ content: `word${word} ` }))),
    chunk(choice({}, 'stop')),
    ...(asked ? [chunk([], { usage: usageOf(cost) })] : []),
  ]
    .map((event) => `data: ${JSON.stringify(event)}\n\n`)
    .concat('data: [DONE]\n\n');
}

export function streamCompletion(cost: CompletionCost = {}, words = 3): Answer {
  return (request, response) => {
    response.writeHead(200, { ...STREAM_HEADERS, 'x-request-id': 'req_upstream' });
    for (const event of completionEvents(cost, asksForUsage(request), words)) response.write(event);
    response.end();
  };
}

/** A Responses stream, which states its usage unasked. */
export function streamResponse(usage: object): Answer {
  const event = (type: string, value: object) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...value })}\n\n`;
  const message = {
    type: 'message',
    id: 'msg_1',
    status: 'completed',
    role: 'assistant',
    content: [{ type: 'output_text', text: 'Hello', annotations: [] }],
  };
  const response = { id: 'resp_1', object: 'response', model: 'gpt-test', error: null };
  const place = { item_id: 'msg_1', output_index: 0, content_index: 0 };
  const events = [
    event('response.created', { response: { ...response, status: 'in_progress', output: [] } }),
    event('response.output_item.added', {
      output_index: 0,
      item: { ...message, status: 'in_progress', content: [] },
    }),
    event('response.content_part.added', {
      ...place,
      part: { type: 'output_text', text: '', annotations: [] },
    }),
    event('response.output_text.delta', { ...place, delta: 'Hello' }),
    event('response.output_text.done', { ...place, text: 'Hello' }),
    event('response.output_item.done', { output_index: 0, item: message }),
    event('response.completed', {
      response: { ...response, status: 'completed', output: [message], usage },
    }),
  ];
  return (_request, reply) => {
    reply.writeHead(200, STREAM_HEADERS).end(events.join(''));
  };
}
