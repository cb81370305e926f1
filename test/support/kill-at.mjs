// Preloaded into a real Tidegate (NODE_OPTIONS=--import): kills the process with SIGKILL at an exact
// point of its work. A request names the point in its header `x-kill-at`; KILL_AT names one that no
// request leads to. Only Node's own channels and functions are watched, nothing of Tidegate.
import { channel } from 'node:diagnostics_channel';
import { createRequire, syncBuiltinESMExports } from 'node:module';

const require = createRequire(import.meta.url);
const promises = require('node:fs/promises');
const { ServerResponse } = require('node:http');
const { writeSync } = require('node:fs');
const { isMainThread, Worker } = require('node:worker_threads');

/** The other thread has begun to write then, and has not flushed. */
const IN_THE_COMMIT_MS = 0.1;

/** The point to die at, once something has led to it. */
let armed = null;
let wanted = process.env.KILL_AT ?? null;

function die(point) {
  if (armed !== point) return;
  writeSync(2, `killed at ${point}\n`);
  process.kill(process.pid, 'SIGKILL');
  // The signal is delivered before the next line of JavaScript, but not before this one is certain.
  for (;;);
}

channel('http.server.request.start').subscribe(({ request }) => {
  wanted = request.headers['x-kill-at'] ?? wanted;
  if (wanted === 'before the charge is durable' || wanted === 'before the charge is forwarded') {
    armed = wanted;
  }
});

/** A write of state.json is held until a request that came meanwhile has an answer. */
let held = null;
let forwarded = false;

channel('undici:request:create').subscribe(() => {
  die('before the charge is forwarded');
  forwarded = held !== null;
});

channel('undici:request:headers').subscribe(({ response }) => {
  if (forwarded) die(held);
  if (wanted === 'before anything is relayed') armed = wanted;
  die('before anything is relayed');
  if (response.statusCode !== 429) return;
  if (wanted === 'before the cooldown is durable' || wanted === 'before the client hears of it') {
    armed = wanted;
  }
});

channel('undici:request:trailers').subscribe(() => {
  if (wanted === 'before the settlement is durable') armed = wanted;
});

const { writeHead } = ServerResponse.prototype;
ServerResponse.prototype.writeHead = function (...args) {
  die('before the client hears of it');
  return writeHead.apply(this, args);
};

/** Every write of state begins here, whatever it writes. */
function beforeWrite() {
  die('before the charge is durable');
  die('before the cooldown is durable');
  die('before the settlement is durable');
  die('in a clean stop');
}

const handle = await promises.open(process.execPath, 'r');
const prototype = Object.getPrototypeOf(handle);
await handle.close();
for (const name of ['write', 'writeFile']) {
  const original = prototype[name];
  prototype[name] = function (...args) {
    beforeWrite();
    return original.apply(this, args);
  };
}

/** What is written on another thread is written there from this moment on. */
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function (...args) {
  if (wanted?.endsWith(' the commit')) armed = wanted;
  beforeWrite();
  die('before the commit');
  this.prependOnceListener('message', () => die('after the commit'));
  postMessage.apply(this, args);
  if (armed !== 'in the commit') return;
  const end = performance.now() + IN_THE_COMMIT_MS;
  while (performance.now() < end);
  die('in the commit');
};

/** What goes to a database is written there by its server, whatever becomes of this process. */
const { Socket } = require('node:net');
const { write, uncork } = Socket.prototype;
/** A statement that commits by itself: by its text, or by its name once the session knows it. */
const UNLOCKED = /skip locked|tidegate_[0-9a-f]+_(?:hot|both)\0/;
Socket.prototype.write = function (chunk, ...rest) {
  const text = Buffer.isBuffer(chunk) ? chunk.toString('latin1') : '';
  const unlocked = UNLOCKED.test(text);
  if (unlocked || /update tidegate_scopes set|insert into tidegate_scopes\n/.test(text)) {
    if (wanted?.endsWith(' the commit')) armed = wanted;
    beforeWrite();
    die('before the commit');
    this.writesState = unlocked ? 'unlocked' : 'locked';
  }
  const sent = write.call(this, chunk, ...rest);
  if (this.writesState === 'locked' && text.includes('commit\0')) committing(this);
  return sent;
};

/** The messages of one statement leave together. */
Socket.prototype.uncork = function () {
  uncork.call(this);
  if (this.writesState === 'unlocked') committing(this);
};

function committing(socket) {
  socket.writesState = undefined;
  die('in the commit');
  socket.prependOnceListener('data', () => die('after the commit'));
}

const { rename } = promises;
promises.rename = async (from, to) => {
  const when = (point) => to.endsWith('state.json') && wanted?.endsWith(point);
  if (when('before the rename')) await stopAt(wanted);
  await rename(from, to);
  if (when('after the rename')) await stopAt(wanted);
};

async function stopAt(point) {
  armed = point;
  if (!point.startsWith('with a charge')) die(point);
  held = point;
  await new Promise(() => {});
}
syncBuiltinESMExports();

if (isMainThread) {
  process.on('SIGTERM', () => {
    if (wanted === 'in a clean stop') armed = wanted;
  });
}
