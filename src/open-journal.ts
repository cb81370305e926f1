import type { StoreConfig } from './config/config.js';
import type { EventJournal } from './state/event-journal.js';

/**
 * The journal that belongs to a store. Opening it touches nothing: it is looked for with the first call, and
 * one that can't be used ends no start.
 */
export async function openJournal(store: StoreConfig, instance: string): Promise<EventJournal> {
  switch (store.kind) {
    case 'file': {
      const { FileEventJournal } = await import('./state/file/file-journal.js');
      return new FileEventJournal({ path: store.path });
    }
    case 'sqlite': {
      const { SqliteEventJournal } = await import('./state/sqlite/sqlite-journal.js');
      return new SqliteEventJournal({ path: store.path });
    }
    case 'postgres': {
      const { PostgresEventJournal } = await import('./state/postgres/postgres-journal.js');
      return new PostgresEventJournal({ url: store.url, instance });
    }
  }
}
