import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Status } from '../../src/admin/status.js';
import { type Answer, FakeUpstream, messageText } from './fake-upstream.js';
import { PostgresStore } from './postgres-store.js';
import { TemporaryDirectory } from './temporary-directory.js';
import { TidegateProcess } from './tidegate-process.js';
import { until } from './until.js';

const SKEWED_CLOCK = fileURLToPath(new URL('./skewed-clock.mjs', import.meta.url));
/** The clocks of any two neighbours are minutes apart, in both directions. */
const SKEWS_MS = [0, 300_000, -420_000, 95_000, -60_000, 600_000, -1_200_000, 30_000];

/** What each request costs the upstream's hidden counter, in tokens. */
export const COST = { input: 80, output: 20 };
export const TOKENS = COST.input + COST.output;

export interface ReplicaOptions {
  /** Each test may have a scope of its own, with a budget of its own. */
  readonly scopes?: readonly string[];
  readonly budget?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** A Postgres server, if not this run's. */
  readonly server?: string;
  /** Where each replica keeps its state, if not all in one Postgres. */
  readonly stateOf?: (replica: number) => string;
}

type ScopeStatus = Status['scopes'][number];

/** Real processes in front of one upstream, on one Postgres, with clocks that disagree. */
export class Replicas {
  readonly running: TidegateProcess[] = [];
  /** How the upstream answers a scope's requests; without one, as usual. */
  readonly answers = new Map<string, Answer>();
  /** How long the upstream usually takes for an answer. */
  answerMs: () => number = () => 5;
  readonly #seen = new Map<string, number>();
  readonly #directory = new TemporaryDirectory();
  readonly #options: ReplicaOptions;

  private constructor(
    readonly store: PostgresStore,
    readonly upstream: FakeUpstream,
    options: ReplicaOptions,
  ) {
    this.#options = options;
    const { budget = 'learn', scopes = [] } = options;
    writeFileSync(
      this.#directory.at('tidegate.yaml'),
      `upstreams:\n  - name: api\n    url: ${upstream.url}\n    listen: 127.0.0.1:0\n` +
        `    limits: [{budget: ${budget}, window: 1h}]\n` +
        `    scopes:\n${scopes.map((name) => `      - {name: ${name}, header: x-scope, value: ${name}}\n`).join('')}`,
    );
    upstream.answer = async (request, response) => {
      const scope = String(request.headers['x-scope']);
      this.#seen.set(scope, this.seen(scope) + 1);
      const answer = this.answers.get(scope);
      if (answer !== undefined) return answer(request, response);
      await new Promise((resolve) => setTimeout(resolve, this.answerMs()));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(messageText(COST));
    };
  }

  static async start(count: number, options: ReplicaOptions = {}): Promise<Replicas> {
    const store = await PostgresStore.create(options.server);
    const upstream = await FakeUpstream.open();
    const replicas = new Replicas(store, upstream, options);
    try {
      await Promise.all(Array.from({ length: count }, (_, index) => replicas.launch(index)));
    } catch (error) {
      await replicas.dispose();
      throw error;
    }
    return replicas;
  }

  /** Starts a replica, maybe once more under its old name. */
  async launch(index: number): Promise<TidegateProcess> {
    const { env, stateOf } = this.#options;
    const started = TidegateProcess.spawn({
      TIDEGATE_CONFIG: this.#directory.at('tidegate.yaml'),
      TIDEGATE_STATE: stateOf?.(index) ?? this.store.url,
      TIDEGATE_INSTANCE: `replica-${index}`,
      NODE_OPTIONS: `--import ${SKEWED_CLOCK}`,
      SKEW_MS: String(SKEWS_MS[index % SKEWS_MS.length]),
      ...env,
    });
    this.running[index] = started;
    await started.untilServing();
    return started;
  }

  /** Requests of the scope that have reached the upstream. */
  seen(scope: string): number {
    return this.#seen.get(scope) ?? 0;
  }

  /** What the upstream's hidden counter says. */
  spent(scope: string): number {
    return this.seen(scope) * TOKENS;
  }

  /** The decision of a local refusal, or the status of the upstream's answer. */
  async call(replica: number, scope: string, init: RequestInit = {}): Promise<string> {
    const response = await this.running[replica]!.call(
      {},
      { headers: { 'content-type': 'application/json', 'x-scope': scope }, ...init },
    );
    await response.arrayBuffer();
    return response.headers.get('tidegate-decision') ?? String(response.status);
  }

  /** Callers on the first `count` replicas, until the budget is used up and nothing is in flight. */
  async saturate(scope: string, count: number, callers: number): Promise<void> {
    const caller = async (index: number) => {
      for (let refusals = 0; refusals < 3;) {
        const outcome = await this.call(index % count, scope).catch(() => 'broken');
        refusals = outcome === 'budget' ? refusals + 1 : 0;
        // What settles lower comes back to the budget within 250 ms.
        if (outcome !== '200') await new Promise((resolve) => setTimeout(resolve, 150));
      }
    };
    await Promise.all(Array.from({ length: callers }, (_, index) => caller(index)));
    await until(async () => (await this.scope(0, scope)).limits[0]!.reserved === 0);
  }

  /** The scope as one replica shows it. */
  async scope(replica: number, scope: string): Promise<ScopeStatus> {
    const { scopes } = await this.running[replica]!.status();
    return scopes.find((candidate) => candidate.scope === `api/${scope}`)!;
  }

  async dispose(): Promise<void> {
    for (const replica of this.running) replica?.child.kill('SIGCONT');
    await Promise.all(this.running.map((replica) => replica?.kill()));
    await this.upstream.close();
    await this.store.dispose();
    this.#directory.dispose();
  }
}
