import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import { PostgresServer } from './postgres-server.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers with the URL of this run's Postgres; starts it for the first who asks. */
    readonly postgresStarter: string;
  }
}

/**
 * One Postgres for all test files of a run, started only if one of them wants it.
 * `TIDEGATE_TEST_POSTGRES` names another, whose user may create databases.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['TIDEGATE_TEST_POSTGRES'] ?? '';
  let starting: Promise<PostgresServer> | null = null;
  const starter = createServer((_request, response) => {
    if (given !== '') return void response.end(given);
    starting ??= PostgresServer.start();
    starting.then(
      (server) => response.end(server.url()),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => starter.listen(0, '127.0.0.1', resolve));
  project.provide('postgresStarter', `http://127.0.0.1:${(starter.address() as AddressInfo).port}`);
  return async () => {
    starter.closeAllConnections();
    starter.close();
    // One that did not start has been told to whoever asked.
    await (await starting?.catch(() => null))?.stop();
  };
}
