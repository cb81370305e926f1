import { type Admission, inTurn } from './admission.js';
import type { Draft, ScopeRules } from './draft.js';
import { type Change, type DurableUpdates, isUnknown } from './durable-updates.js';

/** A change on behalf of a request that was admitted, after those before it of the same request. */
export interface Correction extends Change {
  readonly admission: Admission;
  /** Asked when it is about to be made: what came later may take it along. */
  isWanted(): boolean;
  /** Its turn has come. */
  begin(): void;
  /** It may have been made. What is to be made now, because it is safe to do so twice; null: nothing. */
  doubt(): Doubt | null;
  /** It is durable, or never will be. */
  end(durable: boolean): void;
}

export interface Doubt {
  decide(draft: Draft): void;
  /** It is given up after so many outcomes that can't be known. */
  readonly mostUnknown: number;
}

/** In one update: bounds the time that deciding them takes. */
const MOST_TOGETHER = 256;

/**
 * Corrections that wait for company. Those of different requests are made together, in one update;
 * those of one request one after the other, for each goes on from what the one before it left.
 */
export class CorrectionQueue {
  #waiting: Correction[] = [];
  readonly #urgent = new WeakSet<Correction>();

  constructor(
    private readonly rules: ScopeRules,
    private readonly updates: DurableUpdates,
    /** Takes what is under way. */
    private readonly track: (made: Promise<void>) => void,
    /** Keeps every admission waiting for what resolves. */
    private readonly holdUntil: (made: Promise<void>) => void,
  ) {}

  /** An urgent one is on record before the next admission is, however many attempts that takes. */
  add(correction: Correction, urgent: boolean): void {
    this.#waiting.push(correction);
    if (urgent) this.#urgent.add(correction);
  }

  /** Makes what waits: before it returns, it stands in line at the store. */
  flush(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    for (let start = 0; start < waiting.length; start += MOST_TOGETHER) {
      this.#flush(waiting.slice(start, start + MOST_TOGETHER));
    }
  }

  #flush(waiting: readonly Correction[]): void {
    const together: Correction[] = [];
    const { promise: made, resolve, reject } = Promise.withResolvers<void>();
    for (const correction of waiting) {
      const { admission } = correction;
      if (!correction.isWanted()) continue;
      if (admission.tail !== null) {
        this.track(inTurn(admission, () => this.#make([correction])));
        continue;
      }
      admission.tail = made;
      together.push(correction);
    }
    if (together.length === 0) return;
    this.track(made);
    this.#make(together).then(() => {
      for (const { admission } of together) if (admission.tail === made) admission.tail = null;
      resolve();
    }, reject);
  }

  async #make(corrections: readonly Correction[]): Promise<void> {
    for (const correction of corrections) correction.begin();
    const urgent = corrections.some((one) => this.#urgent.has(one));
    const { promise: recorded, resolve: release } = Promise.withResolvers<void>();
    let holds = false;
    const hold = () => {
      if (urgent && !holds) this.holdUntil(recorded);
      holds = true;
    };
    try {
      const durable = await this.updates.repeat(this.rules, corrections, hold);
      for (const correction of corrections) correction.end(durable);
    } catch (error) {
      if (!isUnknown(error)) throw error;
      hold();
      await Promise.all(corrections.map((correction) => this.#resolve(correction)));
    } finally {
      release();
    }
  }

  async #resolve(correction: Correction): Promise<void> {
    const doubt = correction.doubt();
    if (doubt === null) return correction.end(false);
    const { decide, mostUnknown } = doubt;
    const change = { requestId: correction.requestId, decide };
    correction.end(await this.updates.persist(this.rules, change, mostUnknown));
  }
}
