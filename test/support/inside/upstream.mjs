// An upstream inside a SystemdMachine, on a port of its network: every answer costs 500 tokens. The
// header x-test-hold-ms keeps an answer open for so long after it has begun.
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('{"type":"message","content":[],');
  const end = () => response.end('"usage":{"input_tokens":300,"output_tokens":200}}');
  setTimeout(end, Number(request.headers['x-test-hold-ms'] ?? 0));
});
server.listen(9000, '127.0.0.1');
