// A minute of Tidegate without an account: a make-believe API runs out of quota, the governor takes
// the refusal for all its agents, is killed with SIGKILL, and still knows after the restart.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tidegate-demo-'));

/** Takes three calls, then refuses for an hour. */
let reached = 0;
const upstream = createServer((request, response) => {
  reached += 1;
  request.resume();
  if (reached > 3) {
    response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '3600' });
    response.end(
      '{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account\'s rate limit."}}',
    );
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end('{"type":"message","content":[],"usage":{"input_tokens":900,"output_tokens":100}}');
});
await new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve));

async function startTidegate() {
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      PATH: process.env.PATH,
      TIDEGATE_UPSTREAM: `http://127.0.0.1:${upstream.address().port}`,
      TIDEGATE_LISTEN: '127.0.0.1:0',
      TIDEGATE_ADMIN_LISTEN: '127.0.0.1:0',
      TIDEGATE_STATE: `file:${join(directory, 'state.json')}`,
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes('Point an agent')) break;
  }
  const urlOf = (name) => new RegExp(`${name}\\s+(http:\\S+)`).exec(text)[1];
  return { child, proxy: urlOf('proxy'), control: urlOf('control') };
}

async function ask(tidegate, times) {
  const answers = new Map();
  for (let call = 0; call < times; call += 1) {
    const response = await fetch(`${tidegate.proxy}/v1/messages`, {
      method: 'POST',
      body: '{"model":"demo","messages":[]}',
    });
    await response.text();
    const decision = response.headers.get('tidegate-decision');
    const said =
      decision === null
        ? `${response.status} from the API`
        : `${response.status} from Tidegate (${decision})`;
    answers.set(said, (answers.get(said) ?? 0) + 1);
  }
  return [...answers].map(([said, count]) => `${count} x ${said}`).join(', ');
}

async function tell(tidegate) {
  const { scopes, recentStarts } = await (await fetch(`${tidegate.control}/status`)).json();
  const [scope] = scopes;
  const minutes = Math.round((Date.parse(scope.blockedUntil) - Date.now()) / 60_000);
  return `${scope.state}, about ${minutes} more minutes, ${scope.limits[0].used} tokens charged, start ${recentStarts}`;
}

let tidegate = await startTidegate();
console.log('tidegate starts');
console.log('20 calls:       ', await ask(tidegate, 20));
console.log('the API saw:    ', `${reached} calls`);
console.log('the state:      ', await tell(tidegate));
tidegate.child.kill('SIGKILL');
await new Promise((resolve) => tidegate.child.once('exit', resolve));
console.log('kill -9, restart');
tidegate = await startTidegate();
console.log('20 calls:       ', await ask(tidegate, 20));
console.log('the API saw:    ', `${reached} calls`);
console.log('the state:      ', await tell(tidegate));
tidegate.child.kill('SIGTERM');
await new Promise((resolve) => tidegate.child.once('exit', resolve));
upstream.close();
rmSync(directory, { recursive: true });
