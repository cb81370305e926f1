import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { openPostgresStateRepository } from '../../src/state/postgres/postgres-repository.js';
import type { LossPolicy, StateRepository } from '../../src/state/state-repository.js';

/** The URL of this run's Postgres. It is there, or the test fails; nothing is skipped. */
export async function postgresUrl(): Promise<string> {
  const response = await fetch(inject('postgresStarter'));
  const text = await response.text();
  if (!response.ok) throw new Error(`no Postgres for the tests: ${text}`);
  return text;
}

/**
 * A schema of a test's own, and stores opened in it. It is to them what a database is, and is made in
 * a hundredth of the time.
 */
export class PostgresStore {
  readonly #opened: StateRepository[] = [];
  readonly schema = `tidegate_test_${randomBytes(6).toString('hex')}`;
  readonly url: string;

  private constructor(server: string) {
    const url = new URL(server);
    url.searchParams.set('options', `-csearch_path=${this.schema}`);
    this.url = url.href;
  }

  /** @param server Without one, this run's. */
  static async create(server?: string): Promise<PostgresStore> {
    const store = new PostgresStore(server ?? (await postgresUrl()));
    await store.sql(`create schema ${store.schema}`);
    return store;
  }

  /** Opens the store; through another address, if told. */
  async open(
    options: {
      url?: string;
      instance?: string;
      loss?: Partial<LossPolicy>;
      monotonic?: () => number;
    } = {},
  ): Promise<StateRepository> {
    const repository = await openPostgresStateRepository({
      url: options.url ?? this.url,
      instance: options.instance ?? 'test',
      loss: { onCorrupt: 'cautious', onEmpty: 'trust', ...options.loss },
      ...(options.monotonic && { monotonic: options.monotonic }),
    });
    this.#opened.push(repository);
    return repository;
  }

  /** Runs statements in its schema, on a connection of their own. */
  sql<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]> {
    return sql<Row>(this.url, text, values);
  }

  /** What a failover to an empty database leaves. */
  async empty(): Promise<void> {
    await this.sql(`drop schema ${this.schema} cascade; create schema ${this.schema}`);
  }

  async dispose(): Promise<void> {
    for (const repository of this.#opened) await repository.close();
    await this.sql(`drop schema if exists ${this.schema} cascade`);
  }
}

export async function sql<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values?: unknown[],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}
