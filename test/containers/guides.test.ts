import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { CONFIG_FILE, SETTINGS } from '../../src/config/settings.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { KUBERNETES } from './kustomization.js';

const ROOT = resolve(import.meta.dirname, '../..');
const GUIDES = ['docker', 'kubernetes', 'systemd', 'what-happens-if'].map((name) =>
  join(ROOT, `docs/guides/${name}.md`),
);
const KUBECTL = spawnSync('kubectl', ['version', '--client']).status === 0;

it('what guides and files of operation set are settings that exist', () => {
  const files = readdirSync(join(ROOT, 'ops'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const known = new Set<string>(
    [CONFIG_FILE, ...Object.values(SETTINGS)].map((setting) => setting.env),
  );
  const strangers = [...GUIDES, ...files].flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/\bTIDEGATE_[A-Z_]*[A-Z]\b/g)]
      .map(([name]) => name)
      .filter((name) => !known.has(name) && name !== 'TIDEGATE_TEST_IMAGE')
      .map((name) => `${path}: ${name}`),
  );
  expect(files.length).toBeGreaterThan(10);
  expect(strangers).toEqual([]);
});

it.skipIf(!KUBECTL)('the kustomization in the guide is one that kustomize takes', () => {
  const guide = readFileSync(join(ROOT, 'docs/guides/kubernetes.md'), 'utf8');
  const [, text = ''] =
    /```yaml\n# my-tidegate\/kustomization\.yaml\n([\s\S]*?)```/.exec(guide) ?? [];
  const directory = new TemporaryDirectory();
  cpSync(KUBERNETES, directory.at('tidegate/ops/kubernetes'), { recursive: true });
  mkdirSync(directory.at('mine'));
  writeFileSync(directory.at('mine/kustomization.yaml'), text);
  const { stdout, stderr } = spawnSync('kubectl', ['kustomize', directory.at('mine')], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(stdout).toContain('image: registry.internal/tidegate:0.1.0');
  expect(stdout).toContain('TIDEGATE_BUDGET: "2000000"');
  expect(stdout).toContain('TIDEGATE_DRAIN: 10m');
  directory.dispose();
});
