/** `tidegate events` and `explain` against what is no Tidegate, or has more to tell than fits. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { tidegate } from './run.js';

let server: Server;
let url: string;
let answer: (response: ServerResponse) => void;

beforeAll(async () => {
  server = createServer((_, response) => answer(response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());

const json = (status: number, body: unknown) => (response: ServerResponse) =>
  void response.writeHead(status).end(JSON.stringify(body));

describe.each([['events'], ['explain', 'tg_1'], ['status'], ['status', '--json']])(
  '%s',
  (...command) => {
    it.each([
      ['a page', (response: ServerResponse) => void response.end('<html>')],
      ['other data', json(200, { hello: 1 })],
      ['a number', json(200, 1)],
      [
        'a page that is not found',
        (response: ServerResponse) => void response.writeHead(404).end('no'),
      ],
      ['the error of an API', json(401, { type: 'error', error: { message: 'no key' } })],
    ])('says that %s is no control plane', async (_, how) => {
      answer = how;
      const { code, out, err } = await tidegate([...command, '--url', url]);
      expect({ code, out }).toEqual({ code: 78, out: '' });
      expect(err).toContain(`what answers at ${url} is no control plane of Tidegate`);
      expect(err).toContain('What to do: say where it is');
    });

    it('says which token is missing, with 78: asking again helps nothing', async () => {
      answer = json(401, { message: 'a bearer token is needed', statusCode: 401 });
      const { code, err } = await tidegate([...command, '--url', url]);
      expect(code).toBe(78);
      expect(err).toContain('set TIDEGATE_ADMIN_TOKEN');
    });

    it('may be asked again where something in between fails', async () => {
      answer = (response) => void response.writeHead(502).end('<html>');
      const { code, err } = await tidegate([...command, '--url', url]);
      expect(code).toBe(75);
      expect(err).toContain(`${url} answers 502\n`);
    });
  },
);

it.each([
  ['ftp://127.0.0.1', '"ftp://127.0.0.1"'],
  ['127.0.0.1:8788', '"127.0.0.1:8788"'],
  ['http://op:hunter2@127.0.0.1:1', '"http://***@127.0.0.1:1"'],
  ['http://127.0.0.1:1/?token=hunter2', '"http://127.0.0.1:1/?…"'],
])('an URL that names no control plane is not shown in full: %s', async (named, shown) => {
  const { code, out, err } = await tidegate(['status', '--url', named]);
  expect({ code, out }).toEqual({ code: 64, out: '' });
  expect(err).toContain(`--url ${shown} is no http or https URL`);
  expect(err).not.toContain('hunter2');
});

it('events says that older ones were left out', async () => {
  const [at, details] = ['2026-11-27T00:00:00.000Z', {}];
  const event = { at, scope: 's', kind: 'k', message: 'm', limit: null, requestId: null, details };
  const events = (count: number) => Array(count).fill({ ...event, before: null, after: null });
  answer = json(200, { events: events(1_000), next: '' });
  const many = await tidegate(['events', '--url', url, '--since', '7d']);
  expect(many).toMatchObject({ code: 0 });
  expect(many.err).toBe(
    'tidegate: these are the newest 1_000; there may be older ones within --since 7d\n',
  );
  answer = json(200, { events: events(999), next: '' });
  expect((await tidegate(['events', '--url', url])).err).toBe('');
});

it('events says that there are none', async () => {
  answer = json(200, { events: [], next: '' });
  const none = await tidegate(['events', '--url', url]);
  expect(none).toMatchObject({ code: 0, out: '', err: 'tidegate: no events within --since 24h\n' });
});

it('events of a directory without a state says so, and ends with 78', async () => {
  const directory = new TemporaryDirectory();
  const env = { TIDEGATE_ADMIN_LISTEN: '127.0.0.1:1' };
  const { code, out, err } = await tidegate(['events'], { env, cwd: directory.path });
  expect({ code, out }).toEqual({ code: 78, out: '' });
  expect(err).toMatch(
    /^tidegate: no control plane answers at http:\/\/127\.0\.0\.1:1; read from the/,
  );
  expect(err).toContain('\ntidegate: there is no state at file:');
  directory.dispose();
});
