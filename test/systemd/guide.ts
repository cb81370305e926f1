import { readFileSync } from 'node:fs';

export const GUIDE = readFileSync(new URL('../../docs/guides/systemd.md', import.meta.url), 'utf8');

/** The drop-ins that the guide prints, by the name of their file. */
export const GUIDE_DROP_INS: ReadonlyMap<string, string> = new Map(
  [...GUIDE.matchAll(/```ini\n# \S+\/([\w-]+\.conf)\n([\s\S]*?)```/g)].map(
    ([, name = '', text = '']) => [name, text],
  ),
);
