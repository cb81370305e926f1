import { request, type OutgoingHttpHeaders } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  readonly reason: string;
  readonly rawHeaders: readonly string[];
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface HttpMessage {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  /** One buffer goes with its length, several as chunks. */
  readonly body?: Buffer | readonly Buffer[];
}

/** One request on a connection of its own; nothing is decoded or followed. Rejects if it is cut. */
export function send(url: string, message: HttpMessage): Promise<HttpAnswer> {
  const { method = 'GET', path = '/', headers = {}, body } = message;
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, path, headers, agent: false }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          reason: incoming.statusMessage ?? '',
          rawHeaders: incoming.rawHeaders,
          headers: incoming.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    outgoing.on('error', reject);
    if (body === undefined || Buffer.isBuffer(body)) {
      if (body !== undefined) outgoing.setHeader('content-length', body.length);
      outgoing.end(body);
      return;
    }
    outgoing.setHeader('transfer-encoding', 'chunked');
    for (const chunk of body) outgoing.write(chunk);
    outgoing.end();
  });
}
