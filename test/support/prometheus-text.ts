/** One line of the text format of Prometheus. */
export interface SeriesLine {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly series: SeriesLine[];
}

/** An answer to a scrape, read strictly: what Prometheus would not take throws. */
export class Scrape {
  readonly families = new Map<string, Family>();

  constructor(text: string) {
    let help: [name: string, text: string] = ['', ''];
    let family: Family | null = null;
    for (const line of text.split('\n').filter((candidate) => candidate !== '')) {
      const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
      if (comment?.[1] === 'HELP') {
        help = [comment[2]!, comment[3]!];
      } else if (comment?.[1] === 'TYPE') {
        const name = comment[2]!;
        if (help[0] !== name) throw new Error(`no HELP before: ${line}`);
        if (this.families.has(name)) throw new Error(`a second family: ${line}`);
        family = { name, type: comment[3]!, help: help[1], series: [] };
        this.families.set(name, family);
      } else {
        if (family === null) throw new Error(`no TYPE before: ${line}`);
        family.series.push(readSeries(line, family));
      }
    }
    this.#refuseTwins();
  }

  get series(): readonly SeriesLine[] {
    return [...this.families.values()].flatMap(({ series }) => series);
  }

  named(name: string): readonly SeriesLine[] {
    return this.series.filter((line) => line.name === name);
  }

  /** The one series that has these labels; undefined if there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.named(name).filter((line) =>
      Object.entries(labels).every(([label, value]) => line.labels[label] === value),
    );
    if (found.length > 1) throw new Error(`${found.length} series of ${name} have these labels`);
    return found[0]?.value;
  }

  #refuseTwins(): void {
    const seen = new Set<string>();
    for (const { name, labels } of this.series) {
      const key = JSON.stringify([name, Object.entries(labels).sort()]);
      if (seen.has(key)) throw new Error(`twice: ${key}`);
      seen.add(key);
    }
  }
}

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};

function readSeries(line: string, family: Family): SeriesLine {
  const [, name, labelText = '', value] =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  const names = (SUFFIXES[family.type] ?? ['']).map((suffix) => family.name + suffix);
  if (name === undefined || !names.includes(name))
    throw new Error(`not of ${family.name}: ${line}`);
  const labels: Record<string, string> = {};
  const rest = labelText.replaceAll(
    /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/g,
    (_, label: string, quoted: string) => {
      if (Object.hasOwn(labels, label)) throw new Error(`${label} twice: ${line}`);
      labels[label] = quoted.replaceAll(/\\(.)/g, (_whole, escaped: string) =>
        escaped === 'n' ? '\n' : escaped,
      );
      return '';
    },
  );
  if (rest !== '') throw new Error(`bad labels: ${line}`);
  const number = value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value);
  // prom-client writes `Nan`, and Go, in which Prometheus is written, reads it.
  if (Number.isNaN(number) && value?.toLowerCase() !== 'nan') throw new Error(`bad value: ${line}`);
  return { name, labels, value: number };
}
