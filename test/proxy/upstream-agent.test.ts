import { expect, it } from 'vitest';
import { agentSettings } from '../../src/proxy/upstream-agent.js';

it('the upstream may think as long as it is let, and pause as long as it likes', () => {
  expect(agentSettings(900_000)).toMatchObject({ headersTimeout: 900_000, bodyTimeout: 0 });
});

it('a connection carries one request at a time, in HTTP/1.1', () => {
  expect(agentSettings(1)).toMatchObject({ pipelining: 1, allowH2: false });
});
