import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

const OPS = new URL('../../ops/', import.meta.url);

export interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat: string;
  readonly datasource: { readonly type: string; readonly uid: string };
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly Target[];
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      readonly query: string | { readonly query: string };
    }[];
  };
}

type Named = readonly [name: string, expression: string];

export function readOps(path: string): string {
  return readFileSync(new URL(path, OPS), 'utf8');
}

export function alerts(): readonly Alert[] {
  const file = parse(readOps('prometheus/tidegate.rules.yml')) as {
    groups: { rules: Alert[] }[];
  };
  return file.groups.flatMap(({ rules }) => rules);
}

export function dashboard(): Dashboard {
  return JSON.parse(readOps('grafana/tidegate.json')) as Dashboard;
}

export function expressionsOfRules(): Named[] {
  return alerts().map(({ alert, expr }) => [`alert ${alert}`, expr]);
}

/** Of panels, and of the variables at the top: `label_values(metric, label)` asks for both. */
export function expressionsOfDashboard(): Named[] {
  const { panels, templating } = dashboard();
  const ofPanels = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ refId, expr }): Named => [`panel ${title} ${refId}`, expr]),
  );
  const ofVariables = templating.list.flatMap(({ name, type, query }): Named[] => {
    if (type !== 'query' || typeof query === 'string') return [];
    const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(query.query) ?? [];
    return [[`variable ${name}`, `count by (${label}) (${selector})`]];
  });
  return [...ofPanels, ...ofVariables];
}
