import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Dialect, TokenUsage } from '../dialects/dialect.js';
import { headerFields, type HeaderRecord } from '../dialects/header-fields.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import { withDeadline, type Timers } from '../platform/timers.js';
import { decodePrefix } from './body-decoder.js';
import { responseHeaders } from './headers.js';
import { Meter } from './meter.js';

export interface RelayOptions {
  readonly response: ServerResponse;
  readonly dialect: Dialect;
  readonly governor: Governor;
  /** Null for a request that spends nothing, or that passes unrecorded in observe mode. */
  readonly admission: Admission | null;
  readonly timers: Timers;
  /** Epoch ms. */
  readonly now: () => number;
  /** Takes the `Date` header of the answer. */
  readonly onDate: (date: string) => void;
  /** The upstream failed before its status came, and the client has to be answered. */
  readonly onNoAnswer: (error: Error) => void;
  /** The exchange is over and settled, however it ended. */
  readonly onDone: () => void;
}

/** A refusal is judged by this much of its body at most, or by what came within this time. */
const JUDGED_BYTES = 65_536;
const JUDGING_MS = 250;

type End = { readonly whole: true } | { readonly whole: false; readonly error: Error };

/**
 * Carries one answer from the upstream to the client, byte for byte, and keeps the governor informed:
 *
 *   waiting ── 2xx, unmetered ──► relaying ──► over      settled by the usage seen
 *      │ └──── may refuse ──► judging ──► relaying       the client hears of a 429 once it is durable
 *      └────── no answer ─────────────────► over         settled by whether anything was sent
 *
 * Back-pressure runs through undici's pause and resume; a client that goes away aborts the upstream,
 * and an upstream that breaks off breaks off the client.
 */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #options: RelayOptions;
  #controller: Dispatcher.DispatchController | null = null;
  #status = 0;
  #meter: Meter | null = null;
  /** What has come while the answer is judged; null when bytes go straight on. */
  #held: Buffer[] | null = null;
  #heldBytes = 0;
  #heldEnd: End | null = null;
  #enoughToJudge: () => void = () => {};
  #clientGone = false;
  #over = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    options.response.once('close', () => this.#onClientClose());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#clientGone) controller.abort(new Error('the client went away'));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: HeaderRecord,
    statusText = '',
  ): void {
    // Informational answers are for this hop; the client got its own from our server.
    if (status < 200) return;
    this.#status = status;
    const date = headers['date'];
    if (typeof date === 'string') this.#options.onDate(date);
    const raw = responseHeaders((controller.rawHeaders ?? []) as readonly (string | Buffer)[]);
    const verdict = this.#judge(status, headers);
    if (verdict === null) return this.#beginAnswer(status, statusText, raw);
    this.#held = [];
    void verdict.then(() => this.#releaseHeld(status, statusText, raw));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#held !== null) return this.#hold(controller, chunk);
    const { response } = this.#options;
    const metered = this.#meter?.push(chunk) ?? true;
    const written = response.write(chunk);
    if (written && metered) return;
    controller.pause();
    // The decoder's own `onDrained` resumes where only it has to catch up.
    if (!written) response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#end({ whole: true });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#end({ whole: false, error });
  }

  /** Tells the governor what the status says. A promise: nothing may be relayed before it resolves. */
  #judge(status: number, headers: HeaderRecord): Promise<void> | null {
    const { admission, dialect, governor, now } = this.#options;
    if (admission === null) return null;
    const fields = headerFields(headers);
    const statements = dialect.readLimitSignals(fields, now());
    if (status < 300) {
      this.#meter = this.#openMeter(admission, headers);
      governor.succeeded(admission, statements);
      return null;
    }
    if (!dialect.mayRefuse(status)) return null;
    const reading = this.#readStart().then((bytes) => {
      const body = decodePrefix(fields.get('content-encoding'), bytes);
      return dialect.readRefusal(status, fields, body, now());
    });
    // Only a 429 is sure to concern everyone; others hold nobody up while their body is read.
    if (status === 429) {
      const refused = reading.then((refusal) =>
        refusal === null || refusal.kind === 'overload'
          ? null
          : { ...refusal, kind: refusal.kind, status, statements },
      );
      return governor.refused(admission, refused);
    }
    return reading.then((refusal) => {
      if (refusal === null) return;
      const { kind } = refusal;
      if (kind === 'overload') return governor.overloaded(admission, refusal.statedWaitMs);
      const refused = { ...refusal, kind, status, statements };
      return governor.refused(admission, Promise.resolve(refused));
    });
  }

  /** The start of the body, once there is enough of it to judge by. */
  async #readStart(): Promise<Buffer> {
    const enough = new Promise<void>((resolve) => (this.#enoughToJudge = resolve));
    await withDeadline(this.#options.timers, JUDGING_MS, enough, undefined);
    return Buffer.concat(this.#held ?? []);
  }

  #hold(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#held?.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes < JUDGED_BYTES) return;
    controller.pause();
    this.#enoughToJudge();
  }

  #releaseHeld(status: number, statusText: string, raw: string[]): void {
    const held = this.#held ?? [];
    this.#held = null;
    if (!this.#clientGone) {
      this.#beginAnswer(status, statusText, raw);
      for (const chunk of held) this.#options.response.write(chunk);
    }
    if (this.#heldEnd !== null) this.#end(this.#heldEnd);
    else this.#controller?.resume();
  }

  #beginAnswer(status: number, statusText: string, raw: string[]): void {
    const { response } = this.#options;
    try {
      response.sendDate = false;
      response.writeHead(status, statusText, raw);
    } catch (error) {
      // The upstream's headers can't be said in HTTP: that is no answer.
      this.#status = 0;
      this.#controller?.abort(error as Error);
      return;
    }
    // With the first bytes if they came along, else at once: the client must not wait for the body.
    queueMicrotask(() => response.flushHeaders());
  }

  #openMeter(admission: Admission, headers: HeaderRecord): Meter {
    const { dialect, governor } = this.#options;
    const fields = headerFields(headers);
    return new Meter(dialect, fields.get('content-type'), fields.get('content-encoding'), {
      onInput: (inputTokens) => governor.amend(admission, inputTokens),
      onFailure: (failure) => this.#reportFailure(admission, failure),
      onDrained: () => this.#controller?.resume(),
    });
  }

  /** An answer of status 200 turned into a refusal on the way. */
  #reportFailure(admission: Admission, failure: NonNullable<TokenUsage['failure']>): void {
    const { governor } = this.#options;
    if (failure === 'overloaded') void governor.overloaded(admission, null);
    if (failure === 'rate-limited') void governor.refused(admission, Promise.resolve(BARE_REFUSAL));
  }

  #onClientClose(): void {
    if (this.#over) return;
    this.#clientGone = true;
    this.#controller?.abort(new Error('the client went away'));
  }

  #end(end: End): void {
    if (this.#held !== null) {
      this.#heldEnd = end;
      this.#enoughToJudge();
      return;
    }
    if (this.#over) return;
    this.#over = true;
    const { response, onNoAnswer } = this.#options;
    if (this.#status === 0) {
      if (!this.#clientGone && !end.whole) onNoAnswer(end.error);
    } else if (end.whole) {
      response.end();
    } else {
      // A clean end would tell the client that it has the whole answer.
      response.destroy();
    }
    void this.#settle(end.whole);
  }

  async #settle(whole: boolean): Promise<void> {
    const { admission, governor, onDone } = this.#options;
    if (admission !== null) {
      if (this.#meter !== null) governor.settle(admission, await this.#meter.end(whole));
      else if (this.#status !== 0) governor.settle(admission, { kind: 'not-a-success' });
      else
        governor.settle(admission, { kind: this.#controller === null ? 'not-sent' : 'no-answer' });
    }
    onDone();
  }
}

const BARE_REFUSAL = {
  status: 429,
  kind: 'unknown',
  statedWaitMs: null,
  limits: [],
  statements: [],
} as const;
