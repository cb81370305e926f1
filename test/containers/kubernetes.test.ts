import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PersistentVolumeClaim, Service } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AFTER_DRAIN_MS } from '../../src/data-plane.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { complaints, drainSeconds } from './environment.js';
import { KUBERNETES, Mode, MODES, readKustomization, readManifests } from './kustomization.js';
import { type Manifest, shapeFaults } from './typed-manifests.js';

const modes = MODES.map((name) => new Mode(name));
const NETWORK = join(KUBERNETES, 'network');
const policies = readManifests(join(NETWORK, 'network-policy.yaml')) as (NetworkPolicy &
  Manifest)[];
const KUBECTL = spawnSync('kubectl', ['version', '--client']).status === 0;
if (!KUBECTL) console.warn('left out: kustomize on ops/kubernetes; there is no kubectl');

describe('the shape of the manifests', () => {
  const manifests = [...modes.flatMap(({ manifests: all }) => all), ...policies];
  const text = JSON.stringify(modes[0]!.deployment);
  const broken = [
    ['"livenessProbe"', '"livelinessProbe"'],
    ['"periodSeconds":10', '"periodSeconds":"10s"'],
    ['"containerPort":8787', '"hostPort":8787'],
  ].map(([from, to]) => JSON.parse(text.replace(from!, to!)) as Manifest);
  let faults: ReturnType<typeof shapeFaults>;

  beforeAll(() => {
    faults = shapeFaults([...manifests, ...broken]);
  });

  it('is what the Kubernetes API takes', () => {
    expect(manifests.length).toBeGreaterThan(8);
    expect(faults.slice(0, manifests.length).flat()).toEqual([]);
  });

  it('control: an unknown key deep inside, a wrong type and a missing key are found', () => {
    const [unknown, wrong, missing] = faults.slice(manifests.length);
    expect(unknown?.join()).toContain('livelinessProbe');
    expect(wrong?.join()).toContain("'string' is not assignable");
    expect(missing?.join()).toContain('containerPort');
  });

  it('uses every file', () => {
    for (const folder of ['base', 'network', ...MODES]) {
      const path = join(KUBERNETES, folder);
      const { resources } = readKustomization(path);
      const files = readdirSync(path).filter((name) => name !== 'kustomization.yaml');
      expect(resources.filter((name) => name.endsWith('.yaml')).toSorted()).toEqual(
        files.toSorted(),
      );
    }
  });
});

describe.each(modes)('ops/kubernetes/$name', (mode) => {
  const { pod, container, deployment, environment, kustomization } = mode;
  const labels = deployment.spec!.template.metadata!.labels!;

  it('starts with settings that Tidegate takes without a complaint', () => {
    expect(complaints(environment)).toEqual([]);
    expect(complaints({ ...environment, TIDEGATE_DRIAN: '10m' }), 'control').toHaveLength(1);
    expect(pod.enableServiceLinks, 'no other variables beside them').toBe(false);
  });

  it('drains for ten minutes, and is given the time for it', () => {
    const [, preStop = '0'] = container.lifecycle?.preStop?.exec?.command ?? [];
    expect(drainSeconds(environment)).toBe(600);
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(
      Number(preStop) + drainSeconds(environment) + AFTER_DRAIN_MS / 1_000,
    );
  });

  it('is found by everything that selects it', () => {
    const selectors = [
      deployment.spec!.selector.matchLabels,
      ...mode.all<Service & Manifest>('Service').map(({ spec }) => spec!.selector),
      ...mode
        .all<PodDisruptionBudget & Manifest>('PodDisruptionBudget')
        .map(({ spec }) => spec!.selector!.matchLabels),
      ...(pod.topologySpreadConstraints ?? []).map((spread) => spread.labelSelector!.matchLabels),
    ];
    expect(selectors.length).toBeGreaterThanOrEqual(3);
    for (const selector of selectors) {
      expect(Object.keys(selector ?? {}).length).toBeGreaterThan(0);
      expect(labels).toMatchObject(selector!);
    }
  });

  it('listens where its ports say', () => {
    const ports = Object.fromEntries(
      container.ports!.map(({ name, containerPort }) => [name, containerPort]),
    );
    expect(environment['TIDEGATE_LISTEN']).toBe(`0.0.0.0:${ports['proxy']}`);
    expect(environment['TIDEGATE_ADMIN_LISTEN']).toBe(`0.0.0.0:${ports['control']}`);
    const used = [
      ...mode
        .all<Service & Manifest>('Service')
        .flatMap(({ spec }) => spec!.ports!.map(({ targetPort }) => targetPort)),
      ...probesOf(mode).map(({ port }) => port),
    ];
    expect(used).toHaveLength(5);
    expect(Object.keys(ports)).toEqual(expect.arrayContaining(used));
  });

  it('runs the image that the kustomization names, with its settings', () => {
    const { images, configMapGenerator, namespace } = kustomization;
    expect(images!.map(({ name }) => name)).toEqual([container.image]);
    expect(images![0]!.newTag).toBe(readVersionOfPackage());
    expect(configMapGenerator!.map(({ name }) => name)).toEqual(
      container.envFrom!.flatMap(({ configMapRef }) => configMapRef?.name ?? []),
    );
    expect(mode.all('Namespace')).toMatchObject([{ metadata: { name: namespace } }]);
  });

  it('may do as little as a pod can', () => {
    expect(pod.automountServiceAccountToken).toBe(false);
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(Object.keys(container.resources!.limits!).toSorted()).toEqual(['cpu', 'memory']);
  });

  it.skipIf(!KUBECTL)('is rendered by kustomize, its references resolved', () => {
    const { code, out } = kustomize(join(KUBERNETES, mode.name));
    expect(code, out).toBe(0);
    expect(out).toMatch(/image: registry\.example\.com\/tidegate:\d/);
    const [map] = /tidegate-[a-z0-9]{10}/.exec(out) ?? [];
    expect(out.split(`name: ${map}\n`)).toHaveLength(3);
  });
});

describe('the network policy', () => {
  it.each(modes)('opens each port of $name to somebody, and none to everybody', (mode) => {
    const [{ spec }] = policies as [NetworkPolicy & Manifest];
    const { labels } = mode.deployment.spec!.template.metadata!;
    expect(labels).toMatchObject(spec!.podSelector.matchLabels!);
    expect(spec!.policyTypes).toEqual(['Ingress']);
    const rules = spec!.ingress!;
    expect(rules.map(({ ports }) => ports!.map(({ port }) => port))).toEqual([
      ['proxy'],
      ['control'],
    ]);
    const named = mode.container.ports!.map(({ name }) => name);
    expect(named.toSorted()).toEqual(rules.flatMap(({ ports }) => ports![0]!.port).toSorted());
    for (const { from } of rules) {
      for (const { namespaceSelector, podSelector, ipBlock } of from!) {
        expect(ipBlock).toBeUndefined();
        expect(Object.keys(namespaceSelector!.matchLabels!)).toHaveLength(1);
        expect(Object.keys(podSelector?.matchLabels ?? { any: '' })).toHaveLength(1);
      }
    }
    const { namespace } = readKustomization(NETWORK);
    expect(namespace).toBe(mode.kustomization.namespace);
  });
});

describe('file mode', () => {
  const mode = new Mode('file');

  it('has one instance, which ends before the next begins', () => {
    expect(mode.deployment.spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } });
    expect(mode.environment['TIDEGATE_INSTANCE'], 'keeps its name').toBe('tidegate');
  });

  it('keeps its state on the volume, which its user may write', () => {
    const [mount] = mode.container.volumeMounts!;
    const [volume] = mode.pod.volumes!;
    const [claim] = mode.all<PersistentVolumeClaim & Manifest>('PersistentVolumeClaim');
    expect(mode.environment['TIDEGATE_STATE']).toBe(`file:${mount!.mountPath}/state.json`);
    expect(volume!.name).toBe(mount!.name);
    expect(volume!.persistentVolumeClaim!.claimName).toBe(claim!.metadata!.name);
    expect(mode.pod.securityContext!.fsGroup).toBe(1000);
  });
});

describe('Postgres mode', () => {
  const mode = new Mode('postgres');

  it('has several instances with names of their own, and never lets all go at once', () => {
    const { replicas, strategy } = mode.deployment.spec!;
    expect(replicas).toBeGreaterThan(1);
    expect(strategy!.rollingUpdate!.maxUnavailable).toBe(0);
    const [budget] = mode.all<PodDisruptionBudget & Manifest>('PodDisruptionBudget');
    expect(budget!.spec!.maxUnavailable).toBeLessThan(replicas!);
    const instance = mode.container.env!.find(({ name }) => name === 'TIDEGATE_INSTANCE');
    expect(instance!.valueFrom!.fieldRef!.fieldPath).toBe('metadata.name');
  });

  it('takes where its state is from the Secret, for a password is in it', () => {
    expect(mode.environment['TIDEGATE_STATE']).toBeUndefined();
    expect(mode.container.envFrom!.map(({ secretRef }) => secretRef?.name)).toContain('tidegate');
    expect(mode.container.volumeMounts ?? []).toEqual([]);
  });
});

describe('the probes', () => {
  let directory: TemporaryDirectory;
  let tidegate: TidegateProcess;

  beforeAll(async () => {
    directory = new TemporaryDirectory();
    tidegate = await TidegateProcess.start({
      TIDEGATE_STATE: `file:${directory.at('state.json')}`,
      TIDEGATE_ADMIN_LISTEN: '0.0.0.0:0',
      TIDEGATE_ADMIN_TOKEN: 'a-token-of-sixteen-or-more',
    });
  });

  afterAll(async () => {
    await tidegate?.kill();
    directory.dispose();
  });

  it.each(modes.flatMap((mode) => probesOf(mode).map((probe) => ({ mode: mode.name, ...probe }))))(
    '$mode: $probe is answered by $path, off loopback and without a token',
    async ({ path }) => {
      const control = tidegate.controlUrl.replace('0.0.0.0', '127.0.0.1');
      const headers = { host: '10.1.2.3:8788' };
      expect((await fetch(`${control}${path}`, { headers })).status).toBe(200);
      expect((await fetch(`${control}/status`, { headers })).status, 'control').toBe(401);
    },
  );
});

describe.skipIf(!KUBECTL)('kustomize', () => {
  it('control: refuses a key that does not exist', () => {
    const directory = new TemporaryDirectory();
    cpSync(KUBERNETES, directory.path, { recursive: true });
    const path = directory.at('file/kustomization.yaml');
    writeFileSync(path, `${readFileSync(path, 'utf8')}imagez: []\n`);
    expect(kustomize(directory.at('file')).code).not.toBe(0);
    directory.dispose();
  });
});

function probesOf({ name, container }: Mode) {
  const probes = { ...container } as Record<string, unknown>;
  return ['startupProbe', 'livenessProbe', 'readinessProbe'].map((probe) => {
    const { httpGet } = probes[probe] as { httpGet: { path: string; port: string } };
    return { name, probe, ...httpGet };
  });
}

function kustomize(folder: string) {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', folder], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { code: status, out: status === 0 ? stdout : stderr };
}

function readVersionOfPackage(): string {
  const path = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
