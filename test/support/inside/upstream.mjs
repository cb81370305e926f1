// An upstream inside a SystemdMachine, on a port of its network: every answer costs 500 tokens. One to
// a request with the header x-test-hold begins, and ends when somebody asks for /release.
import { createServer } from 'node:http';

const held = [];
const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'application/json' });
  if (request.url === '/release') {
    for (const end of held.splice(0)) end();
    response.end('{}');
    return;
  }
  response.write('{"type":"message","content":[],');
  const end = () => response.end('"usage":{"input_tokens":300,"output_tokens":200}}');
  if (request.headers['x-test-hold'] === undefined) end();
  else held.push(end);
});
server.listen(9000, '127.0.0.1');
