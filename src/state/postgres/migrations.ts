import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whoever only looks does so also where this one has not run. */
export const ADD_COLD_REVISION = 'AddColdRevision1764288000000';

/*
 * The tables. Append-only: a migration that has been released is never edited.
 *
 * The hot and the cold part of a scope are in tables of their own, so that the commit of a request
 * writes the hot one only. A fill factor of 10 gives every row a page of its own: new versions then
 * stay on it and touch no index. `json`, not `jsonb`: the document is kept as it was written.
 */
class CreateTables1763856000000 implements MigrationInterface {
  readonly name = 'CreateTables1763856000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table tidegate_store (
        only_row boolean primary key default true check (only_row),
        id text not null,
        schema_major integer not null,
        lost json,
        created_at timestamptz not null default now(),
        checked_at timestamptz
      )`);
    await runner.query(`
      create table tidegate_scopes (
        name text primary key,
        revision bigint not null,
        written_by text not null,
        recorded_at bigint not null,
        clock_ahead_ms bigint not null,
        schema_major integer not null,
        hot json not null
      ) with (fillfactor = 10)`);
    await runner.query(`
      create table tidegate_scopes_cold (
        name text primary key,
        revision bigint not null,
        written_by text not null,
        cold json not null,
        others json not null
      )`);
    await runner.query(`
      create table tidegate_set_aside (
        name text not null,
        set_aside_at timestamptz not null default now(),
        why text not null,
        hot json,
        cold json
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['set_aside', 'scopes_cold', 'scopes', 'store']) {
      await runner.query(`drop table tidegate_${table}`);
    }
  }
}

/** What is told of the past: see state/event-journal.ts. */
class CreateJournal1764115200000 implements MigrationInterface {
  readonly name = 'CreateJournal1764115200000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table tidegate_journal (
        stream text not null,
        scope text not null,
        id bigint not null,
        at bigint not null,
        prefix text not null,
        first bigint,
        last bigint,
        document json not null,
        primary key (stream, scope, id, prefix)
      )`);
    await runner.query('create index tidegate_journal_at on tidegate_journal (stream, at)');
    await runner.query(`
      create index tidegate_journal_requests on tidegate_journal (prefix, last)
      where prefix <> ''`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table tidegate_journal');
  }
}

/** Which ids a store had before, or took the place of: see takeOver in entry.ts. */
class AddReplaces1764201600000 implements MigrationInterface {
  readonly name = 'AddReplaces1764201600000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `alter table tidegate_store add column replaces text[] not null default '{}'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table tidegate_store drop column replaces');
  }
}

/** Which version of the cold part a hot one was written with, or a later one: see readScope in scope-row.ts. */
class AddColdRevision1764288000000 implements MigrationInterface {
  readonly name = ADD_COLD_REVISION;

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      'alter table tidegate_scopes add column cold_revision bigint not null default 0',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table tidegate_scopes drop column cold_revision');
  }
}

/** In their order; listed here because a search by file name would find what a build left behind. */
export const MIGRATIONS = [
  CreateTables1763856000000,
  CreateJournal1764115200000,
  AddReplaces1764201600000,
  AddColdRevision1764288000000,
];

export const MIGRATIONS_TABLE = 'tidegate_migrations';

/** Of the advisory lock under which they run: any number that no other program takes. */
export const MIGRATION_LOCK = '8388079892230366053';
