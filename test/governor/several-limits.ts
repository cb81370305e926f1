import type { LimitRules } from '../../src/budget/settings.js';
import { amountIn, type Cost, countedOf } from '../../src/budget/cost.js';
import type { Admission, AdmissionOutcome } from '../../src/governor/admission.js';
import type { LimitStatement } from '../../src/governor/attribution.js';
import { openLedger, type Ledger } from '../../src/simulate/ledger.js';
import { exponential, seededRandom } from '../../src/simulate/seeded-random.js';
import type { HotState, ScopeState } from '../../src/state/scope-state.js';
import { MINUTE, SCOPE, SECOND, statement, Town } from './support.js';

export const OPUS = 'opus';
export const SONNET = 'sonnet';

/** An upstream that counts against several limits at once, and the agents that ask it for more than it grants. */
export interface SeveralLimits {
  readonly seed: number;
  /** What Tidegate is told of each limit, and what the upstream grants in a window. One with `models` is the first model's. */
  readonly limits: readonly { readonly rules: LimitRules; readonly granted: number }[];
  /** Refusals say which limit they are about. */
  readonly named: boolean;
  /** Refusals say how long to wait. */
  readonly waits: boolean;
  /** Every answer states the amounts of the limits that it was counted in. */
  readonly states: boolean;
  readonly agents: number;
  /** Of the agents, those that use the first model. */
  readonly opusShare: number;
  readonly crashes: number;
}

export interface Outcome {
  /** Upstream refusals, by limit. */
  readonly refusals: ReadonlyMap<string, number>;
  /** Tokens of whole answers while agents asked, by model. */
  readonly served: ReadonlyMap<string, number>;
  /** How often an instance was found to be gone, or to have forgotten what it had in flight. */
  readonly orphaned: number;
  /** At the end. */
  readonly hot: HotState;
}

/** Agents ask for so long, and then everything has as long to end. */
const ASKING_MS = 120 * MINUTE;
const STEP_MS = 250;
/** A client waits no longer, whatever it is told. */
const PATIENT_MS = 59 * SECOND;
/** What a client waits that is not told. */
const IMPATIENT_MS = 5 * SECOND;
const REFUSAL_MS = 200;

interface Request {
  readonly session: string;
  readonly model: string;
  readonly cost: Cost;
  readonly durationMs: number;
}

export async function runSeveralLimits(world: SeveralLimits, governed: boolean): Promise<Outcome> {
  const run = new Run(world, await Town.open({ limits: world.limits.map(({ rules }) => rules) }));
  await run.run(governed);
  return run;
}

class Run implements Outcome {
  readonly refusals = new Map<string, number>();
  readonly served = new Map<string, number>();
  readonly #ledgers: ReadonlyMap<string, Ledger>;
  readonly #random;
  #governed = true;
  /** Counts the processes: what one of them admitted, the next knows nothing of. */
  #process = 0;

  constructor(
    private readonly world: SeveralLimits,
    private readonly town: Town,
  ) {
    this.#random = seededRandom(world.seed, 'agents');
    this.#ledgers = new Map(
      world.limits.map(({ rules: { name, kind, windowMs }, granted }) => [
        name,
        openLedger(kind, windowMs, () => granted),
      ]),
    );
  }

  get orphaned(): number {
    return this.town.happened('charge-orphaned').length;
  }

  get hot(): HotState {
    return (this.town.disk.scopes.get(SCOPE) as ScopeState).hot;
  }

  get #now(): number {
    return this.town.time.monotonic();
  }

  async run(governed: boolean): Promise<void> {
    this.#governed = governed;
    const { agents, opusShare, crashes } = this.world;
    for (let agent = 0; agent < agents; agent += 1) {
      this.#think(`s${agent}`, agent < opusShare * agents ? OPUS : SONNET);
    }
    let crashed = 0;
    for (let looked = 0; this.#now < 2 * ASKING_MS;) {
      await this.town.pass(STEP_MS);
      if (this.#now - looked >= MINUTE) {
        looked = this.#now;
        await this.town.tick();
      }
      if (crashed < crashes && this.#now > ASKING_MS / 2 + crashed * 5 * MINUTE) {
        crashed += 1;
        this.#process += 1;
        await this.town.crash();
      }
    }
  }

  #think(session: string, model: string): void {
    if (this.#now > ASKING_MS) return;
    const tokens = () => Math.ceil(exponential(this.#random, 1_000));
    const cost = { requests: 1, inputTokens: tokens(), outputTokens: tokens() };
    const durationMs = 1_000 + exponential(this.#random, 8_000);
    const request = { session, model, cost, durationMs };
    this.#after(exponential(this.#random, 4_000), () => void this.#send(request));
  }

  async #send(request: Request): Promise<void> {
    const { model } = request;
    const process = this.#process;
    const outcome = this.#governed ? await this.#admit(request) : null;
    if (process !== this.#process) return this.#again(request, IMPATIENT_MS);
    if (outcome !== null && outcome.kind !== 'admitted') {
      const waitMs = outcome.kind === 'refused' ? outcome.denial.until - outcome.denial.now : 0;
      return this.#again(request, waitMs);
    }
    const admission = outcome?.admission ?? null;
    const full = this.#countedIn(model).find(({ rules, granted }) => {
      const room = granted - this.#ledger(rules).used(this.#now);
      return rules.unit === 'requests' ? room < 1 : room <= 0;
    });
    if (full === undefined) this.#answer(request, admission, process);
    else this.#refuse(request, admission, process, full);
  }

  /** Null: the process that was asked has died. */
  async #admit({ session, model, cost }: Request): Promise<AdmissionOutcome | null> {
    const process = this.#process;
    const asked = { requestId: '', model, session, bodyBytes: 4 * cost.inputTokens };
    try {
      return await this.town.governor.admit(SCOPE, asked);
    } catch (error) {
      if (process === this.#process) throw error;
      return null;
    }
  }

  #refuse(
    request: Request,
    admission: Admission | null,
    process: number,
    { rules, granted }: SeveralLimits['limits'][number],
  ): void {
    const { name, windowMs, unit } = rules;
    this.refusals.set(name, (this.refusals.get(name) ?? 0) + 1);
    const least = unit === 'requests' ? granted - 0.999 : granted;
    const waitMs =
      Math.ceil((this.#ledger(rules).freeAt(least, this.#now) - this.#now) / SECOND) * SECOND;
    const statedWaitMs = this.world.waits ? Math.max(SECOND, waitMs) : null;
    const statements = this.#statements(request.model);
    this.#after(REFUSAL_MS, () => {
      this.#again(request, statedWaitMs ?? IMPATIENT_MS);
      if (admission === null || process !== this.#process) return;
      const kind = statedWaitMs === null ? 'unknown' : 'quota';
      const limits = this.world.named ? [{ name, windowMs }] : [];
      const refusal = { status: 429, kind, statedWaitMs, limits, statements } as const;
      void this.town.governor.refused(admission, Promise.resolve(refusal));
      this.town.governor.settle(admission, { kind: 'not-a-success' });
    });
  }

  #answer(request: Request, admission: Admission | null, process: number): void {
    const { model, cost, durationMs, session } = request;
    const output = { ...cost, requests: 0, inputTokens: 0 };
    for (const { rules } of this.#countedIn(model)) this.#ledger(rules).accept(this.#now);
    this.#count(model, countedOf(cost));
    const { governor } = this.town;
    this.#after(durationMs / 5, () => {
      if (admission === null || process !== this.#process) return;
      governor.succeeded(admission, this.#statements(model));
      governor.amend(admission, cost.inputTokens);
    });
    this.#after(durationMs, () => {
      this.#count(model, output);
      const tokens = cost.inputTokens + cost.outputTokens;
      if (this.#now <= ASKING_MS) {
        this.served.set(model, (this.served.get(model) ?? 0) + tokens);
      }
      if (admission !== null && process === this.#process) {
        const relayedOutputTokens = cost.outputTokens;
        const usage = {
          ...cost,
          cachedTokens: 0,
          relayedOutputTokens,
          whole: true,
          complete: true,
        };
        governor.settle(admission, { kind: 'success', ...usage });
      }
      this.#think(session, model);
    });
  }

  #countedIn(model: string): SeveralLimits['limits'] {
    return this.world.limits.filter(({ rules }) => rules.models === null || model === OPUS);
  }

  #count(model: string, cost: Cost): void {
    for (const { rules } of this.#countedIn(model)) {
      this.#ledger(rules).charge(amountIn(rules.unit, cost), this.#now);
    }
  }

  #statements(model: string): LimitStatement[] {
    if (!this.world.states) return [];
    return this.#countedIn(model).map(({ rules, granted }) => {
      const { name, windowMs } = rules;
      const ledger = this.#ledger(rules);
      const used = ledger.used(this.#now);
      const endsAt = ledger.endsAt() ?? this.#now + (used / granted) * windowMs;
      const resetAt = this.town.time.wall() + Math.ceil(endsAt - this.#now);
      const remaining = Math.max(0, Math.floor(granted - used));
      return statement({ name, windowMs, limit: granted, remaining, resetAt });
    });
  }

  #ledger({ name }: LimitRules): Ledger {
    return this.#ledgers.get(name) as Ledger;
  }

  #again(request: Request, waitMs: number): void {
    const patientMs = Math.min(PATIENT_MS, Math.max(SECOND, waitMs)) + 500 * this.#random();
    if (this.#now <= ASKING_MS) this.#after(patientMs, () => void this.#send(request));
  }

  #after(delayMs: number, call: () => void): void {
    this.town.time.after(delayMs, call);
  }
}
