import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { bannerOf } from '../../src/cli/banner.js';
import { config } from '../config/load.js';

const at = (port: number): AddressInfo => ({ address: '127.0.0.1', family: 'IPv4', port });

test('the banner says what each limit counts, of which models, and where agents go', () => {
  const file = `
upstreams:
  - url: https://api.anthropic.com
    limits:
      - {name: 5h, budget: 1_000_000}
      - {name: 7d_opus, window: 7d, models: ["claude-opus-*"]}
`;
  expect(bannerOf(config({}, file), '1.2.3', [at(9_000)], at(9_001))).toBe(`tidegate 1.2.3
  proxy    http://127.0.0.1:9000  ->  https://api.anthropic.com
  limit    1_000_000 tokens in a fixed window of 5h
  limit    tokens, learned from the upstream, fixed window of 7d, of claude-opus-* only
  control  http://127.0.0.1:9001  /status  /health/ready  /metrics
  state    file:/home/op/data/state.json
Point an agent at it:
  export ANTHROPIC_BASE_URL=http://127.0.0.1:9000
`);
});
