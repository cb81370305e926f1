import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Authority } from '../support/certificates.js';
import { PostgresServer } from '../support/postgres-server.js';
import { PostgresStore, sql } from '../support/postgres-store.js';
import { increment } from '../support/scope-states.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';

/** A server with a certificate for 127.0.0.1, which takes no plain connections to one of its databases. */
let server: PostgresServer;
let files: TemporaryDirectory;
const stores: PostgresStore[] = [];

beforeAll(async () => {
  files = new TemporaryDirectory();
  const [authority, stranger] = [new Authority('right'), new Authority('wrong')];
  writeFileSync(files.at('right.pem'), authority.certificate);
  writeFileSync(files.at('wrong.pem'), stranger.certificate);
  const { certificate, key } = authority.issue('127.0.0.1');
  server = await PostgresServer.start(
    {},
    {
      'server.crt': certificate,
      'server.key': key,
      'postgresql.auto.conf': 'ssl = on\n',
      'pg_hba.conf': 'hostnossl secret all all reject\nhost all all all trust\n',
    },
  );
  await sql(server.url(), 'create database secret');
}, 60_000);

afterAll(async () => {
  for (const store of stores) await store.dispose();
  await server?.stop();
  files?.dispose();
});

interface Way {
  readonly database?: string;
  readonly host?: string;
  readonly sslmode?: string;
  /** Name of a file. */
  readonly trusts?: string;
}

/** Opens a store by way of a URL with these parameters, and says how its connections are. */
async function open({ database = 'postgres', host, sslmode, trusts }: Way) {
  const url = new URL(server.url(database));
  if (host !== undefined) url.hostname = host;
  if (sslmode !== undefined) url.searchParams.set('sslmode', sslmode);
  if (trusts !== undefined) url.searchParams.set('sslrootcert', files.at(trusts));
  const own = new URL(server.url(database));
  if (database === 'secret') {
    own.searchParams.set('sslmode', 'verify-full');
    own.searchParams.set('sslrootcert', files.at('right.pem'));
  }
  const store = await PostgresStore.create(own.href);
  stores.push(store);
  url.searchParams.set('options', `-csearch_path=${store.schema}`);
  const repository = await store.open({ url: url.href, instance: store.schema });
  const isEncrypted = async () => {
    const rows = await store.sql<{ ssl: boolean }>(
      `select distinct ssl from pg_stat_ssl natural join pg_stat_activity
       where application_name = $1`,
      [`tidegate ${store.schema}`],
    );
    return rows.map(({ ssl }) => ssl);
  };
  return { repository, isEncrypted };
}

describe('TLS to the database', () => {
  it.each<[string, Way, boolean]>([
    ['is not used where nobody asks for it', {}, false],
    [
      'verify-full, with the right authority',
      { sslmode: 'verify-full', trusts: 'right.pem' },
      true,
    ],
    ['require checks as much', { sslmode: 'require', trusts: 'right.pem' }, true],
    ['no-verify encrypts', { sslmode: 'no-verify' }, true],
    [
      'reaches a server that demands it',
      { database: 'secret', sslmode: 'verify-full', trusts: 'right.pem' },
      true,
    ],
  ])('%s', async (_, way, encrypted) => {
    const { repository, isEncrypted } = await open(way);
    expect(repository.health().problem).toBeNull();
    expect(await repository.update('a', increment)).toBe(0);
    expect(await isEncrypted()).toEqual([encrypted]);
  });

  it.each<[string, Way, string, string]>([
    [
      'another authority than the certificate’s',
      { sslmode: 'verify-full', trusts: 'wrong.pem' },
      'certificate',
      'sslrootcert=/path/ca.pem',
    ],
    [
      'require, with another authority',
      { sslmode: 'require', trusts: 'wrong.pem' },
      'certificate',
      'sslrootcert=/path/ca.pem',
    ],
    [
      'none, and those of the system do not know it',
      { sslmode: 'verify-full' },
      'certificate',
      'sslrootcert=/path/ca.pem',
    ],
    [
      'a name that the certificate does not have',
      { host: 'localhost', sslmode: 'verify-full', trusts: 'right.pem' },
      'localhost',
      'reach it by a name that its certificate has',
    ],
    [
      'a file that is not there',
      { sslmode: 'verify-full', trusts: 'missing.pem' },
      'missing.pem',
      'correct the path of that file',
    ],
    [
      'plain, and the server demands it',
      { database: 'secret' },
      'no encryption',
      'add sslmode=verify-full',
    ],
  ])('is refused, with the reason and what to do: %s', async (_, way, reason, remedy) => {
    const { repository } = await open(way);
    const error: unknown = await repository
      .update('a', increment)
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'STATE_UNAVAILABLE' });
    const { problem } = repository.health();
    expect(problem).toContain(reason);
    expect(problem).toContain(remedy);
    expect(problem).toContain(`:${server.port}`);
  });

  it('is refused where the server has none, and heals when it has', async () => {
    const turn = async (onOrOff: 'on' | 'off') => {
      await sql(server.url(), `alter system set ssl = ${onOrOff}`);
      await sql(server.url(), 'select pg_reload_conf()');
      const isSo = async () => (await sql(server.url(), 'show ssl'))[0]?.['ssl'] === onOrOff;
      await until(isSo, 10_000);
    };
    await turn('off');
    const { repository, isEncrypted } = await open({ sslmode: 'verify-full', trusts: 'right.pem' });
    const { problem } = repository.health();
    expect(problem).toContain('does not support SSL');
    expect(problem).toContain('turn TLS on at the database');
    await turn('on');
    await until(() => repository.health().healthy, 10_000);
    expect(await repository.update('a', increment)).toBe(0);
    expect(await isEncrypted()).toEqual([true]);
  });
});
