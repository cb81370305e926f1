/**
 * The upstream of the benchmarks: plain sockets and prepared answers, so that it is never what is measured.
 * `canned-upstream.ts KIND`; says the port it listens on.
 *
 * json  an answer of 1.2 KB at once
 * sse   200 events, each in a write of its own, as fast as they are taken
 * slow  one event a second, without end
 */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { EVENTS_A_STREAM } from './canned-upstream-events.js';

const SLOW_EVENT_MS = 1_000;

const usage = '"usage":{"input_tokens":500,"output_tokens":60}';
const TEXT = 'x'.repeat(1_200 - 170);
const ANSWER = `{"id":"msg_bench","type":"message","role":"assistant","model":"claude-bench","content":[{"type":"text","text":"${TEXT}"}],"stop_reason":"end_turn",${usage}}`;
const JSON_ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_bench\r\n` +
    `Content-Length: ${ANSWER.length}\r\n\r\n${ANSWER}`,
);
const STREAM_HEAD = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nRequest-Id: req_bench\r\nTransfer-Encoding: chunked\r\n\r\n',
);
const START = event(
  'message_start',
  `{"type":"message_start","message":{"id":"msg_bench",${usage}}}`,
);
const DELTA = event(
  'content_block_delta',
  '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" tide gate tide"}}',
);
const STOP = Buffer.concat([
  event('message_delta', `{"type":"message_delta","delta":{"stop_reason":"end_turn"},${usage}}`),
  event('message_stop', '{"type":"message_stop"}'),
  Buffer.from('0\r\n\r\n'),
]);

function event(name: string, data: string): Buffer {
  const text = `event: ${name}\ndata: ${data}\n\n`;
  return Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`);
}

const ANSWERS: Readonly<Record<string, (socket: Socket) => void>> = {
  json: (socket) => void socket.write(JSON_ANSWER),
  sse: (socket) => {
    socket.write(STREAM_HEAD);
    socket.write(START);
    let sent = 3;
    const next = () => {
      if (socket.destroyed) return;
      if (sent >= EVENTS_A_STREAM) return void socket.write(STOP);
      sent += 1;
      if (socket.write(DELTA)) setImmediate(next);
      else socket.once('drain', next);
    };
    setImmediate(next);
  },
  slow: (socket) => {
    socket.write(STREAM_HEAD);
    socket.write(START);
    const timer = setInterval(() => socket.write(DELTA), SLOW_EVENT_MS);
    socket.once('close', () => clearInterval(timer));
  },
};

const END_OF_HEADERS = Buffer.from('\r\n\r\n');
const answer = ANSWERS[process.argv[2] ?? ''];
if (answer === undefined) throw new Error(`no such answer: ${process.argv[2]}`);

const server = createServer({ noDelay: true }, (socket) => {
  let pending: Buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const end = pending.indexOf(END_OF_HEADERS);
    if (end === -1) return;
    const length = /\r\ncontent-length: *(\d+)/i.exec(pending.toString('latin1', 0, end))?.[1];
    const whole = end + END_OF_HEADERS.length + Number(length ?? 0);
    if (pending.length < whole) return;
    pending = pending.subarray(whole);
    answer(socket);
  });
});
server.listen(0, '127.0.0.1', 4_096, () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
