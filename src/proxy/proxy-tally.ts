import type { DialectName } from '../dialects/dialect.js';
import { Counts } from '../platform/counts.js';
import { Histogram } from '../platform/histogram.js';
import type { Decision } from './local-refusal.js';

const DECISIONS: Readonly<Record<Decision, true>> = {
  cooldown: true,
  budget: true,
  probing: true,
  terminal: true,
  overload: true,
  state: true,
};

/** Kinds of answer that mean something to the governor; `none`: the upstream failed before its status. */
const ANSWER_CLASSES = ['2xx', '3xx', '4xx', '429', '5xx', '529', 'none'] as const;
type AnswerClass = (typeof ANSWER_CLASSES)[number];

/** Requests in a row that an upstream gave no answer to. */
export interface Silence {
  readonly upstream: string;
  /** When the first of them failed, in epoch ms. */
  readonly since: number;
  readonly requests: number;
  /** Why the latest did. */
  readonly code: string;
}

/**
 * What the data plane has done since the process started, for the metrics to read. It is kept here,
 * and not by a metrics library, for that library is loaded long after the first request.
 */
export class ProxyTally {
  /** Requests let through, by scope. */
  readonly admissions: Counts<'admitted'>;
  /** Local refusals, by scope. */
  readonly refusals: Counts<Decision>;
  /** Those with decision `state` that came before the request's scope was looked for. */
  refusalsWithoutScope = 0;
  /** Answers cut off because their client had stopped reading. */
  unreadAnswers = 0;
  /** Observe mode: what would have been refused, by scope. */
  readonly observed: Counts<Decision>;
  /** Answers to metered requests, by upstream. */
  readonly metered: Counts<AnswerClass>;
  /** Answers to all others, by upstream. */
  readonly unmetered: Counts<AnswerClass>;
  /** From the whole body to the decision, durable if it admits. */
  readonly decisionMs = { admitted: new Histogram(), refused: new Histogram() };
  /**
   * What Tidegate adds to a metered request's first byte: from the whole body to its dispatch, and from
   * the answer's head to our own. Answers that are judged first wait for more than that, and are left out.
   */
  readonly firstByteMs = new Histogram();

  /** Upstreams whose newest request got no answer. */
  readonly #silences = new Map<string, Silence>();

  constructor(scopes: readonly string[], upstreams: readonly string[]) {
    const decisions = Object.keys(DECISIONS) as Decision[];
    this.admissions = new Counts(scopes, ['admitted']);
    this.refusals = new Counts(scopes, decisions);
    this.observed = new Counts(scopes, decisions);
    this.metered = new Counts(upstreams, ANSWER_CLASSES);
    this.unmetered = new Counts(upstreams, ANSWER_CLASSES);
  }

  /** The state can't be asked, or not yet; `scope` where it is known. */
  postponed(scope?: string): void {
    if (scope === undefined) this.refusalsWithoutScope += 1;
    else this.refusals.add(scope, 'state');
  }

  /** By upstream, the dialect that would have metered what has passed unmetered. */
  readonly missed = new Map<string, DialectName>();

  get silences(): readonly Silence[] {
    return [...this.#silences.values()];
  }

  /** The upstream, or the way to it, failed before it sent a status, at `at`. */
  unanswered(upstream: string, code: string, at: number): void {
    const { since = at, requests = 0 } = this.#silences.get(upstream) ?? {};
    this.#silences.set(upstream, { upstream, since, requests: requests + 1, code });
  }

  /** `status` 0: the upstream failed before it sent one. */
  answered(upstream: string, metered: boolean, status: number): void {
    if (status > 0) this.#silences.delete(upstream);
    (metered ? this.metered : this.unmetered).add(upstream, classOf(status));
  }
}

function classOf(status: number): AnswerClass {
  if (status === 0) return 'none';
  if (status === 429 || status === 529) return `${status}`;
  if (status < 300) return '2xx';
  if (status < 400) return '3xx';
  return status < 500 ? '4xx' : '5xx';
}
