import type { AddressInfo } from 'node:net';
import type { Config } from '../config/config.js';
import { formatAddress, formatCount, formatDuration, hrefOf } from '../config/format.js';
import { storeName } from '../config/state-store.js';
import type { LimitRules } from '../budget/settings.js';
import { dialectOf } from '../dialects/dialects.js';

/** What a person needs to know once all ports are open, and the one line that points an agent here. */
export function bannerOf(
  config: Config,
  version: string,
  addresses: readonly AddressInfo[],
  control: AddressInfo,
): string {
  const lines = [`tidegate ${version}`];
  const pointers: string[] = [];
  config.upstreams.forEach((upstream, index) => {
    const { url, defaultScope, listen } = upstream;
    const { port } = addresses[index] ?? listen;
    const proxyUrl = `http://${formatAddress({ host: listen.host, port })}`;
    lines.push(`  proxy    ${proxyUrl}  ->  ${hrefOf(url)}`);
    lines.push(...defaultScope.limits.map((limit) => `  limit    ${describeLimit(limit)}`));
    pointers.push(`  export ${dialectOf(upstream).pointer(proxyUrl, url)}`);
  });
  lines.push(
    `  control  http://${formatAddress({ host: config.admin.listen.host, port: control.port })}  /status  /health/ready  /metrics`,
    `  state    ${storeName(config.state)}`,
  );
  if (config.mode === 'observe') lines.push('  mode     observe: nothing is refused');
  lines.push('Point an agent at it:', ...pointers);
  return `${lines.join('\n')}\n`;
}

function describeLimit({ budget, unit, windowMs, kind, models }: LimitRules): string {
  const pool = models === null ? '' : `, of ${models.join(', ')} only`;
  const window = `${kind} window of ${formatDuration(windowMs)}${pool}`;
  return budget === null
    ? `${unit}, learned from the upstream, ${window}`
    : `${formatCount(budget)} ${unit} in a ${window}`;
}
