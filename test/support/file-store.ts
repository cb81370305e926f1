import { join } from 'node:path';
import { openFileStateRepository } from '../../src/state/file/file-repository.js';
import { type AdapterOptions, StoreOnDisk } from './store-on-disk.js';

/** A file store of a test's own. */
export class FileStore extends StoreOnDisk {
  readonly path = join(this.directory, 'state.json');

  protected adapter(options: AdapterOptions) {
    return openFileStateRepository(options);
  }

  protected another(): this {
    return new FileStore(this.time) as this;
  }

  protected isLeftOut(): boolean {
    return false;
  }
}
