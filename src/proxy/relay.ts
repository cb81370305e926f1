import { errors, type Dispatcher } from 'undici';
import type {
  AnswerFilter,
  Dialect,
  HeaderFields,
  ShapedAnswer,
  StreamFailure,
} from '../dialects/dialect.js';
import { headerFields, type HeaderRecord } from '../dialects/header-fields.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import type { Settlement } from '../governor/settlement.js';
import { SYSTEM_TIME } from '../platform/clock.js';
import type { Timers } from '../platform/timers.js';
import { connectionBreaks } from './broken-connections.js';
import type { Exchange } from './exchange.js';
import {
  isOpenEnded,
  reasonOf,
  responseHeaders,
  undoesCoding,
  type RawHeaders,
} from './headers.js';
import { HeldStart } from './held-start.js';
import { judge, judgeFailure } from './judge.js';
import { Meter } from './meter.js';
import { Outlet } from './outlet.js';
import { diedIdle, type NoAnswer } from './upstream-failure.js';

export interface RelayOptions {
  readonly exchange: Exchange;
  readonly dialect: Dialect;
  readonly governor: Governor;
  /** Null for a request that spends nothing, or that passes unrecorded in observe mode. */
  readonly admission: Admission | null;
  /** What the request was made into; null where it was forwarded as it came. */
  readonly shaped: ShapedAnswer | null;
  readonly timers: Timers;
  /** All exchanges of this process. */
  readonly underWay: { readonly size: number };
  /** Longest wait for the head of the answer, in ms. */
  readonly timeoutMs: number;
  /** Epoch ms. */
  readonly now: () => number;
  /** Takes the head of the answer, whatever it says. */
  readonly onHead: (fields: HeaderFields, status: number) => void;
  /** An answer goes straight on; its own head was ready this long after the upstream's. */
  readonly onRelayed: (afterHeadMs: number) => void;
  /** Sends the request; called again at most once, if nothing of it was sent the first time. */
  readonly dispatch: (handler: Dispatcher.DispatchHandler) => void;
  /** The upstream failed before its status came, and the client has to be answered. */
  readonly onNoAnswer: (failure: NoAnswer) => void;
  /**
   * It is over and settled, however it ended. True: the answer is about what was added to the
   * request, and the client has seen nothing of it.
   */
  readonly onDone: (rejected: boolean) => void;
}

type End = { readonly whole: true } | { readonly whole: false; readonly error: Error };

/**
 * Carries one answer from the upstream to the client, byte for byte, and keeps the governor informed:
 *
 *   waiting ── 2xx, unmetered ──► relaying ──► over      settled by the usage seen
 *      │ └──── may refuse ──► judging ──► relaying       the client hears of a 429 once it is durable
 *      │                         └──────► over           it was about what was added to the request
 *      └────── no answer ─────────────────► over         settled by whether anything was sent
 *
 * Back-pressure runs through undici's pause and resume; a client that goes away aborts the upstream,
 * and an upstream that breaks off breaks off the client.
 */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #options: RelayOptions;
  readonly #outlet: Outlet;
  /** Null until undici begins to send. */
  #controller: Dispatcher.DispatchController | null = null;
  #repeated = false;
  #status = 0;
  /** Since when the upstream has had the whole request, as far as is known; monotonic ms. */
  #askedAt: number | null = null;
  #meter: Meter | null = null;
  /** Takes out of the answer what the client did not ask for. */
  #filter: AnswerFilter | null = null;
  /** What has come while the answer is judged; null when bytes go straight on. */
  #held: HeldStart | null = null;
  #heldEnd: End | null = null;
  /** Who has to catch up before more is read. */
  #clientBusy = false;
  #meterBusy = false;
  /** The answer ends with its connection. */
  #openEnded = false;
  #over = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { exchange, underWay } = options;
    this.#outlet = new Outlet(exchange.response, () => this.#awaitClient(), underWay);
    exchange.whenClosed(() => this.#onClientClose());
  }

  send(): void {
    if (!this.#over) this.#options.dispatch(this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#options.exchange.request.complete) this.#askedAt = SYSTEM_TIME.monotonic();
    if (this.#over) controller.abort(new Error(CLIENT_GONE));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: HeaderRecord,
    statusText = '',
  ): void {
    if (status < 200) return this.#takeInformation(controller);
    if (!undoesCoding(headers['transfer-encoding'])) {
      return controller.abort(new Error('a transfer coding that was not asked for'));
    }
    const headAt = SYSTEM_TIME.monotonic();
    this.#status = status;
    const fields = headerFields(headers);
    this.#options.onHead(fields, status);
    const { exchange, shaped } = this.#options;
    this.#openEnded = isOpenEnded(exchange.request.method, status, headers);
    if (status < 300) this.#filter = filterOf(shaped, fields);
    const given = (controller.rawHeaders ?? []) as readonly (string | Buffer)[];
    const raw = responseHeaders(given, headers, this.#filter !== null);
    const verdict = this.#inform(status, fields);
    if (verdict === null) {
      this.#begin(statusText, raw);
      return this.#options.onRelayed(SYSTEM_TIME.monotonic() - headAt);
    }
    void verdict.then((isOfUse) => {
      if (isOfUse) this.#releaseHeld(statusText, raw);
      else this.#reject();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#held === null) this.#pass(chunk);
    else if (!this.#held.push(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    if (this.#openEnded && connectionBreaks()) {
      return this.#end({ whole: false, error: new Error('the connection broke') });
    }
    this.#end({ whole: true });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (!this.#repeated && diedIdle({ error, sent: this.#controller !== null })) {
      this.#repeated = true;
      // Not at once: undici is still busy with the connection that died.
      return queueMicrotask(() => this.send());
    }
    this.#end({ whole: false, error });
  }

  /**
   * Informational answers are for this hop; the client got its own from our server. undici waits anew
   * for the head after each of them.
   */
  #takeInformation(controller: Dispatcher.DispatchController): void {
    const { exchange, timeoutMs } = this.#options;
    // While it is still uploaded, it is not the upstream that is waited for.
    if (!exchange.request.complete) return;
    const now = SYSTEM_TIME.monotonic();
    this.#askedAt ??= now;
    if (now - this.#askedAt > timeoutMs) controller.abort(new errors.HeadersTimeoutError());
  }

  #reject(): void {
    this.#held = null;
    this.#over = true;
    if (this.#heldEnd === null) this.#controller?.abort(new Error('the answer is of no use'));
    this.#done({ kind: 'not-a-success' }, true);
  }

  /**
   * Tells the governor what the answer says. A promise: nothing is relayed before it resolves, to whether
   * the client is to get it.
   */
  #inform(status: number, fields: HeaderFields): Promise<boolean> | null {
    const { admission, dialect, exchange, governor, now, shaped, timers } = this.#options;
    if (admission === null) return null;
    const statements = dialect.readLimitSignals(fields, now());
    if (status < 300) {
      this.#meter = this.#openMeter(admission, fields);
      governor.succeeded(admission, statements);
      return null;
    }
    const readStart = () => {
      this.#held = new HeldStart();
      return this.#held.read(timers, fields.get('content-encoding'));
    };
    // An answer about what was asked for in the client's place is none of the client's business.
    if (shaped?.mayReject(status)) return readStart().then((body) => !shaped.isRejected(body));
    const { record } = exchange;
    const answer = { status, fields, statements, readStart };
    const verdict = judge({ ...answer, dialect, governor, admission, record, now });
    return verdict && verdict.then(() => true);
  }

  #releaseHeld(statusText: string, raw: RawHeaders): void {
    const { chunks } = this.#held as HeldStart;
    this.#held = null;
    if (!this.#options.exchange.over) {
      this.#begin(statusText, raw);
      for (const chunk of chunks) this.#pass(chunk);
    }
    if (this.#heldEnd !== null) this.#end(this.#heldEnd);
    else this.#goOn();
  }

  #begin(statusText: string, raw: RawHeaders): void {
    const { exchange } = this.#options;
    const { response } = exchange;
    if (this.#openEnded) exchange.endsWithConnection();
    try {
      response.sendDate = false;
      response.writeHead(this.#status, reasonOf(statusText), raw);
    } catch (error) {
      // The upstream's headers can't be said in HTTP: that is no answer.
      this.#status = 0;
      this.#controller?.abort(error as Error);
      return this.#end({ whole: false, error: error as Error });
    }
    // The client must not wait for the body.
    this.#outlet.open();
  }

  #pass(chunk: Buffer): void {
    if (this.#over) return;
    if (this.#meter?.push(chunk) === false) this.#meterBusy = true;
    if (this.#filter === null) this.#outlet.write(chunk);
    else this.#filter.push(chunk).forEach((part) => this.#outlet.write(part));
    if (this.#meterBusy || this.#clientBusy) this.#controller?.pause();
  }

  #awaitClient(): void {
    if (this.#clientBusy || this.#over) return;
    this.#clientBusy = true;
    this.#controller?.pause();
    this.#options.exchange.behind();
    this.#options.exchange.response.once('drain', () => {
      this.#clientBusy = false;
      // Not at once: another answer's end may be the cause, and undici is in the midst of that one.
      queueMicrotask(() => this.#goOn());
    });
  }

  #goOn(): void {
    if (!this.#meterBusy && !this.#clientBusy && !this.#over) this.#controller?.resume();
  }

  #openMeter(admission: Admission, fields: HeaderFields): Meter {
    const { dialect, exchange, governor } = this.#options;
    const { url = '' } = exchange.request;
    return new Meter(dialect, url, fields.get('content-type'), fields.get('content-encoding'), {
      onInput: (inputTokens) => governor.amend(admission, inputTokens),
      onFailure: (failure) => this.#reportFailure(admission, failure),
      onDrained: () => {
        this.#meterBusy = false;
        this.#goOn();
      },
    });
  }

  /** An answer of status 200 turned into a refusal on the way. */
  #reportFailure(admission: Admission, failure: StreamFailure): void {
    const { dialect, exchange, governor, now } = this.#options;
    judgeFailure(failure, { dialect, governor, admission, record: exchange.record, now });
  }

  #onClientClose(): void {
    if (this.#over) return;
    const error = new Error(CLIENT_GONE);
    // A request that still waits for a connection is dropped when its turn comes.
    if (this.#controller === null) this.#end({ whole: false, error });
    else this.#controller.abort(error);
  }

  #end(end: End): void {
    if (this.#held !== null) {
      this.#heldEnd = end;
      this.#held.end();
      return;
    }
    if (this.#over) return;
    const { exchange, onNoAnswer } = this.#options;
    if (!exchange.over) this.#filter?.end().forEach((part) => this.#outlet.write(part));
    this.#over = true;
    if (end.whole) return this.#outlet.end(this.#leave);
    this.#settleSoon(false);
    if (this.#status !== 0) this.#cut();
    else if (!exchange.over) onNoAnswer({ error: end.error, sent: this.#controller !== null });
  }

  readonly #leave = (rest: Buffer | undefined) => {
    this.#settleSoon(true);
    this.#options.exchange.end(rest);
  };

  /**
   * On its own, for undici would take a fault in there for one of the answer; and before anything
   * that follows, for no fault in there may leave the charge in flight.
   */
  #settleSoon(whole: boolean): void {
    queueMicrotask(() => this.#settle(whole));
  }

  #cut(): void {
    this.#outlet.flush();
    this.#options.exchange.cut();
  }

  #settle(whole: boolean): void {
    if (this.#meter === null) return this.#done(this.#cost());
    const settlement = this.#meter.end(whole);
    if (settlement instanceof Promise) void settlement.then((cost) => this.#done(cost));
    else this.#done(settlement);
  }

  #done(settlement: Settlement, rejected = false): void {
    const { admission, exchange, governor, onDone } = this.#options;
    if (admission !== null) {
      exchange.record?.settled(settlement);
      governor.settle(admission, settlement);
    }
    onDone(rejected);
  }

  /** Of a request without a success. */
  #cost(): Settlement {
    if (this.#status !== 0) return { kind: 'not-a-success' };
    return { kind: this.#controller === null ? 'not-sent' : 'no-answer' };
  }
}

/** What was asked for in the client's place comes back out. */
function filterOf(shaped: ShapedAnswer | null, fields: HeaderFields): AnswerFilter | null {
  // A coding that was asked not to be used hides what is to be taken out: then it all passes.
  if (shaped === null || !/^(identity)?$/i.test(fields.get('content-encoding') ?? '')) return null;
  return shaped.openFilter(fields.get('content-type') ?? '');
}

const CLIENT_GONE = 'the client went away';
