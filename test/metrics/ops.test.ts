import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { alerts, dashboard, readOps, type Panel } from './ops-files.js';
import { readQuery } from '../support/promql.js';

/** That everything asked for exists is checked against a real /metrics in test/e2e/metrics.test.ts. */
const GUIDE = readFileSync(new URL('../../docs/guides/alerts.md', import.meta.url), 'utf8');
const PROMETHEUS = fileURLToPath(new URL('../../ops/prometheus/', import.meta.url));

describe('the alert rules', () => {
  it.each(alerts().map((alert) => [alert.alert, alert] as const))(
    '%s says what to do',
    (name, alert) => {
      expect(name).toMatch(/^Tidegate[A-Z]\w+$/);
      expect(alert.labels['severity']).toMatch(/^(critical|warning)$/);
      const { summary = '', description = '', runbook = '' } = alert.annotations;
      // An alert that doesn't say of whom it speaks is found out only by whoever is woken.
      expect(summary).toMatch(/\{\{ \$labels\.(scope|instance|upstream) \}\}/);
      expect(description.length).toBeGreaterThan(80);
      expect(runbook).toBe(`docs/guides/alerts.md#${name.toLowerCase()}`);
    },
  );

  it('have a chapter each in the guide, and the guide has no other', () => {
    const chapters = [...GUIDE.matchAll(/^### (\w+)$/gm)].map(([, chapter]) => chapter);
    expect(chapters).toEqual(alerts().map(({ alert }) => alert));
  });

  it('keep the labels that their texts name', () => {
    for (const { alert, expr, annotations } of alerts()) {
      const named = [
        ...Object.values(annotations)
          .join()
          .matchAll(/\$labels\.(\w+)/g),
      ];
      const { groupings, selectors } = readQuery(expr);
      const known = selectors.some(({ metric }) => metric === 'up') ? ['instance'] : groupings;
      for (const [, label = ''] of named) expect(known, alert).toContain(label);
    }
  });

  const promtool = spawnSync('promtool', ['--version']).status === 0;
  if (!promtool) {
    console.warn('left out: the test of the rules by promtool, which is not on the PATH');
  }

  it.skipIf(!promtool)('do what they should, by promtool', () => {
    const rules = spawnSync('promtool', ['check', 'rules', 'tidegate.rules.yml'], {
      cwd: PROMETHEUS,
      encoding: 'utf8',
    });
    expect(rules.status, rules.stderr).toBe(0);
    const tested = spawnSync('promtool', ['test', 'rules', 'tidegate.rules.test.yml'], {
      cwd: PROMETHEUS,
      encoding: 'utf8',
    });
    expect(tested.status, tested.stdout + tested.stderr).toBe(0);
  });

  it('have a test for promtool each', () => {
    const tests = readOps('prometheus/tidegate.rules.test.yml');
    const untested = alerts().filter(({ alert }) => !tests.includes(`{alertname="${alert}"`));
    expect(untested.map(({ alert }) => alert)).toEqual([]);
  });
});

describe('the dashboard', () => {
  const { panels, templating } = dashboard();
  const charts = panels.filter(({ type }) => type !== 'row');

  it('has panels with ids of their own, that fit on the grid and lie beside one another', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(charts.map(({ title }) => title)).size).toBe(charts.length);
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    }
    const overlaps = panels.flatMap((one, index) =>
      panels
        .slice(index + 1)
        .filter((other) => overlap(one, other))
        .map((other) => `${one.title} and ${other.title}`),
    );
    expect(overlaps).toEqual([]);
    expect(overlap(panels[0]!, panels[0]!), 'the check itself').toBe(true);
  });

  it('says of every panel what it shows, and has an expression and a legend for every line', () => {
    for (const { title, description = '', targets = [] } of charts) {
      expect(description.length, title).toBeGreaterThan(15);
      expect(targets.length, title).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
      for (const { expr, legendFormat, datasource } of targets) {
        expect(expr, title).not.toBe('');
        expect(datasource, title).toEqual({ type: 'prometheus', uid: '${datasource}' });
        const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
        // What aggregates must keep the labels that its legend shows.
        const { groupings } = readQuery(expr);
        const kept = groupings.length === 0 ? ['instance'] : groupings;
        for (const label of shown) expect(kept, `${title}: ${expr}`).toContain(label);
      }
    }
  });

  it('can be narrowed down to a data source, a job, an instance and a scope, and every line is', () => {
    expect(templating.list.map(({ name }) => name)).toEqual([
      'datasource',
      'job',
      'instance',
      'scope',
    ]);
    for (const { title, targets = [] } of charts) {
      for (const { expr } of targets) {
        for (const { metric, matchers } of readQuery(expr).selectors) {
          const by = matchers.map(({ label }) => label);
          expect(by, `${title}: ${metric}`).toContain('job');
          if (/^tidegate_(scope|limit)_/.test(metric)) expect(by, title).toContain('scope');
        }
      }
    }
  });

  it('answers at the top who is blocked, why, and until when', () => {
    expect(panels.slice(1, 4).map(({ title }) => title)).toEqual(['State', 'Why', 'Until']);
    expect(panels.slice(1, 4).every(({ gridPos }) => gridPos.y === 1)).toBe(true);
  });
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
