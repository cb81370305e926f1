import type { Explanation } from '../admin/explanation.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { askControlPlane, controlPlaneOf, unreachable } from './control-client.js';
import { EXIT } from './exit-codes.js';
import { explainInWords } from './explain-text.js';

export const run: Run = async (args, terminal) => {
  const { options, words } = readArguments(
    args,
    { json: { type: 'boolean' }, url: { type: 'string' } },
    1,
  );
  const [id] = words;
  if (id === undefined) throw new UsageError('Say which request: its tidegate-request-id.');
  const plane = controlPlaneOf(mustLoadFrom(terminal).admin, options.url);
  const asked = await askControlPlane(plane, `/explain/${encodeURIComponent(id)}`, 'requestId');
  if (asked.kind === 'away') throw unreachable(plane, asked.reason);
  if (asked.kind === 'not-found') {
    throw new UsageError(
      `${asked.message}. What the upstream itself refused is told by: tidegate events; what it did not answer (502, 504), by the log`,
    );
  }
  const explanation = asked.body as Explanation;
  terminal.out(
    options.json === true
      ? `${JSON.stringify(explanation, null, 2)}\n`
      : explainInWords(explanation, plane),
  );
  return EXIT.ok;
};
