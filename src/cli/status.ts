import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { askControlPlane, askPage, controlPlaneOf, unreachable } from './control-client.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, { json: { type: 'boolean' }, url: { type: 'string' } });
  const plane = controlPlaneOf(mustLoadFrom(terminal).admin, options.url);
  const asJson = options.json === true;
  const asked = await (asJson ? askControlPlane(plane, '/status', 'scopes') : askPage(plane));
  if (asked.kind !== 'answer') {
    throw unreachable(plane, asked.kind === 'away' ? asked.reason : asked.message);
  }
  terminal.out(asJson ? `${JSON.stringify(asked.body, null, 2)}\n` : standing(String(asked.body)));
  return EXIT.ok;
};

/** Without the paths at its end, which are for those who came with a browser. */
function standing(page: string): string {
  return `${page.replace(/\n\nGET  \/status[^]*$/, '').trimEnd()}\n`;
}
