import { basename, dirname } from 'node:path';
import type { FileSystem } from '../platform/durable-file.js';
import { errorCode } from '../platform/tidegate-error.js';

const SET_ASIDE = '.corrupt-';

/** A file that can't be believed. */
export interface Doubtful {
  readonly path: string;
  /** What is wrong with it, in words. */
  readonly why: string;
}

/** `as`: the path that it has now. */
export type SetAside = Doubtful & { readonly as: string };

/** Renames what can't be believed to `<path>.corrupt-<time>`, for people to look at; resolves to that. */
export async function setAside(files: FileSystem, path: string, time: string): Promise<string> {
  const wanted = `${path}${SET_ASIDE}${time.replaceAll(/[:.]/g, '-')}`;
  const taken = new Set(await files.readdir(dirname(path)));
  let name = wanted;
  // What was set aside before is not to be replaced.
  for (let n = 2; taken.has(basename(name)); n += 1) name = `${wanted}-${n}`;
  await files.rename(path, name);
  return name;
}

/** Something was set aside there: then there was a store. */
export async function hasSetAside(files: FileSystem, path: string): Promise<boolean> {
  const prefix = `${basename(path)}${SET_ASIDE}`;
  try {
    return (await files.readdir(dirname(path))).some((name) => name.startsWith(prefix));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
