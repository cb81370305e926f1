import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Container, PodSpec } from 'kubernetes-types/core/v1.js';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import { parse, parseAllDocuments } from 'yaml';
import type { Manifest } from './typed-manifests.js';

export const KUBERNETES = resolve(import.meta.dirname, '../../ops/kubernetes');
/** Folders of ops/kubernetes that are applied. */
export const MODES = ['file', 'postgres'] as const;

export interface Kustomization {
  readonly resources: readonly string[];
  readonly namespace?: string;
  readonly configMapGenerator?: readonly { name: string; literals: readonly string[] }[];
  readonly images?: readonly { name: string; newName: string; newTag: string }[];
}

/** A mode as it is committed: no patches, so its files say what is applied. */
export class Mode {
  readonly kustomization: Kustomization;
  readonly manifests: readonly Manifest[];

  constructor(readonly name: (typeof MODES)[number]) {
    this.kustomization = readKustomization(join(KUBERNETES, name));
    this.manifests = manifestsBelow(join(KUBERNETES, name));
  }

  all<Kind extends Manifest>(kind: string): readonly Kind[] {
    return this.manifests.filter((manifest) => manifest.kind === kind) as Kind[];
  }

  get deployment(): Deployment {
    return this.all<Deployment & Manifest>('Deployment')[0]!;
  }

  get pod(): PodSpec {
    return this.deployment.spec!.template.spec!;
  }

  get container(): Container {
    return this.pod.containers[0]!;
  }

  /** What the container starts with, but for its secrets. */
  get environment(): Readonly<Record<string, string>> {
    const literals = this.kustomization.configMapGenerator!.flatMap((map) => map.literals);
    const pairs = literals.map((literal) => literal.split(/=(.*)/s).slice(0, 2));
    const own = (this.container.env ?? []).map(({ name, value }) => [name, value ?? 'a-pod-1']);
    return Object.fromEntries([...pairs, ...own]) as Record<string, string>;
  }
}

export function readKustomization(folder: string): Kustomization {
  return parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as Kustomization;
}

function manifestsBelow(folder: string): Manifest[] {
  return readKustomization(folder).resources.flatMap((resource) => {
    const path = join(folder, resource);
    return resource.endsWith('.yaml') ? readManifests(path) : manifestsBelow(path);
  });
}

export function readManifests(path: string): Manifest[] {
  return parseAllDocuments(readFileSync(path, 'utf8')).map((document) => {
    if (document.errors.length > 0) throw new Error(`${dirname(path)}: ${document.errors[0]}`);
    return document.toJS() as Manifest;
  });
}
