import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { renderReference } from './reference.js';
import {
  LIMIT_SETTINGS,
  SCOPE_SETTINGS,
  UPSTREAM_SETTINGS,
} from '../../src/config/file-settings.js';
import { CONFIG_FILE, SETTINGS } from '../../src/config/settings.js';

const DOC = new URL('../../docs/reference/configuration.md', import.meta.url);

test('docs/reference/configuration.md is what the settings say (UPDATE_DOCS=1 rewrites it)', () => {
  const wanted = renderReference(EXIT_CODES);
  if (process.env['UPDATE_DOCS'] === '1') {
    mkdirSync(new URL('.', DOC), { recursive: true });
    writeFileSync(DOC, wanted);
  }
  expect(readFileSync(DOC, 'utf8')).toBe(wanted);
});

test('every setting has its row, and no cell breaks the table', () => {
  const lines = renderReference(EXIT_CODES).split('\n');
  const variables = [CONFIG_FILE, ...Object.values(SETTINGS)].map(({ env }) => env);
  for (const variable of variables) {
    expect(lines.filter((line) => line.startsWith(`| \`${variable}\``))).toHaveLength(1);
  }
  const nested = { ...UPSTREAM_SETTINGS, ...LIMIT_SETTINGS, ...SCOPE_SETTINGS };
  for (const key of Object.keys(nested)) {
    expect(lines.some((line) => line.startsWith(`| \`${key}\` |`))).toBe(true);
  }
  const columns = new Map(
    [...lines.entries()].map(([index, line]) => [index, line.split('|').length]),
  );
  for (const [index, line] of lines.entries()) {
    if (line.startsWith('|') && lines[index - 1]?.startsWith('|')) {
      expect(columns.get(index), line).toBe(columns.get(index - 1));
    }
  }
});
