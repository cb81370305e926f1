import type { AddressInfo } from 'node:net';
import { headerFields } from '../dialects/header-fields.js';
import type { Admission, AdmissionOutcome, AdmissionRequest } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import { rfc3339, SYSTEM_TIME } from '../platform/clock.js';
import type { Log } from '../platform/log.js';
import { randomHex } from '../platform/random.js';
import { withDeadline, type Timers } from '../platform/timers.js';
import { AccessRecord } from './access-log.js';
import { hasBody, type Exchange } from './exchange.js';
import { Forwarder } from './forwarder.js';
import { HeldBodies, type HeldBody, type HoldOutcome } from './held-bodies.js';
import { Listener } from './listener.js';
import {
  DRAINING,
  LocalAnswers,
  NO_ROOM,
  STATE_UNAVAILABLE,
  type ToldRefusal,
} from './local-answers.js';
import { meteredByAnother } from '../dialects/unmetered.js';
import { meteredPath } from './path-readings.js';
import { ProxyTally } from './proxy-tally.js';
import type { OpenRoute, Route } from './route.js';
import { screen } from './screen.js';
import { Shaping } from './shaping.js';
import { streamedBody } from './streamed-body.js';
import { UnderWay } from './under-way.js';
import { openFreshAgent, openUpstreamAgent } from './upstream-agent.js';

export interface UpstreamProxyOptions {
  readonly routes: readonly Route[];
  readonly governor: Governor;
  readonly observe: boolean;
  /** Longest `retry-after` of a local refusal, in ms. */
  readonly maxRetryAfterMs: number;
  readonly timers: Timers;
  /** Epoch ms. */
  readonly now: () => number;
  /** Takes the `Date` header of upstream answers, as a witness for the clock. */
  readonly onDate: (date: string) => void;
  /** Takes each local refusal of a metered request, for whoever asks why. */
  readonly onRefused: (refusal: ToldRefusal) => void;
  /** Takes each line of the access log, and must not block; null: none is kept. */
  readonly onAccess: ((line: string) => void) | null;
  readonly log: Log;
}

/** How long exchanges that were cut off at the end of a drain have to settle. */
export const CUT_MS = 1_000;

/** What was asked of the governor. */
interface Asked {
  readonly scope: string;
  readonly asks: AdmissionRequest;
}

/**
 * The data plane: HTTP in, HTTP out. Owns the listeners and the way of a request through them; what a
 * request may spend is the governor's. The way of a request:
 *
 *   listener            is what came a request at all? then it becomes an `exchange`
 *   screen              may it be read in two ways?
 *   path-readings       does it spend? if not, `streamed-body`, and on to the forwarder
 *   held-bodies         the body, whole
 *   governor.admit      charged on disk, or refused: `local-answers`
 *   shaping             made to ask for its usage
 *   forwarder           to the upstream, with `headers` for the next hop, by `upstream-agent`
 *   relay               the answer back: a refusal waits for the `judge`, of a success the `meter` reads
 *                       what it cost, and the `outlet` writes it
 *   governor.settle     the estimate gives way to the cost
 */
export class UpstreamProxy {
  /** What it has done since the process started. */
  readonly tally: ProxyTally;
  readonly #options: UpstreamProxyOptions;
  readonly #answers: LocalAnswers;
  readonly #forwarder: Forwarder;
  readonly #bodies = new HeldBodies();
  /** Our name in `Via`; unlike any other's, so that two Tidegates may stand behind one another. */
  readonly #pseudonym = `tidegate-${randomHex(4)}`;
  readonly #idPrefix = `tg_${randomHex(4)}`;
  readonly #routes: OpenRoute[] = [];
  readonly #underWay = new UnderWay();
  #requests = 0;
  #draining = false;

  constructor(options: UpstreamProxyOptions) {
    this.#options = options;
    const { routes, governor } = options;
    const upstreams = routes.map(({ name }) => name);
    this.tally = new ProxyTally(governor.scopes, upstreams);
    this.#answers = new LocalAnswers({ ...options, tally: this.tally });
    this.#forwarder = new Forwarder({
      ...options,
      tally: this.tally,
      answers: this.#answers,
      underWay: this.#underWay,
      pseudonym: this.#pseudonym,
    });
  }

  /** Exchanges under way: from the request's headers until the answer is out and settled. */
  get inFlight(): number {
    return this.#underWay.size;
  }

  /** Bytes of request bodies in memory, or promised room there. */
  get heldBytes(): number {
    return this.#bodies.heldBytes;
  }

  /** Opens every listener; rejects if one can't be. Returns where they listen, in the routes' order. */
  async listen(): Promise<readonly AddressInfo[]> {
    const addresses: AddressInfo[] = [];
    for (const route of this.#options.routes) {
      const { listener } = this.#open(route);
      addresses.push(await listener.open(route.listen));
    }
    return addresses;
  }

  /** Admits nothing more and waits until what runs is over, at most `deadlineMs`; cuts off the rest. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    const { timers, governor } = this.#options;
    governor.releaseHeld();
    await withDeadline(timers, deadlineMs, this.#underWay.ended(), undefined);
    for (const { listener } of this.#routes) listener.cut();
    await withDeadline(timers, CUT_MS, this.#underWay.ended(), undefined);
  }

  /** Closes the listeners, all at once, and the connections to the upstreams. */
  async close(): Promise<void> {
    this.#draining = true;
    const routes = this.#routes.splice(0);
    await Promise.all(routes.map(({ listener }) => listener.close()));
    await Promise.all(
      routes.flatMap(({ agent, freshAgent }) => [agent.destroy(), freshAgent.destroy()]),
    );
  }

  #open(route: Route): OpenRoute {
    const { timers, log } = this.#options;
    const [agent, freshAgent] = [openUpstreamAgent(route), openFreshAgent(route)];
    const listener = new Listener({
      dialect: route.dialect,
      timers,
      log,
      nextRequestId: () => `${this.#idPrefix}${(this.#requests += 1).toString(36)}`,
      onExchange: (exchange) => this.#serve(open, exchange),
      onUnread: (requestId) => this.#noteUnread(route, requestId),
    });
    const open = { ...route, listener, agent, freshAgent, shaping: new Shaping({ ...route, log }) };
    this.#routes.push(open);
    return open;
  }

  #noteUnread({ name: upstream }: Route, requestId: string): void {
    this.tally.unreadAnswers += 1;
    this.#options.log.warn('the client has stopped reading its answer', { upstream, requestId });
  }

  #serve(route: OpenRoute, exchange: Exchange): void {
    const underWay = this.#underWay.begin();
    const end = () => {
      underWay.end();
      const { record, response } = exchange;
      record?.close(response.headersSent ? response.statusCode : 0);
    };
    const settled = this.#handle(route, exchange);
    if (settled === undefined) exchange.whenClosed(end);
    else void settled.then(() => exchange.whenClosed(end));
  }

  #openRecord({ name }: OpenRoute, { requestId }: Exchange): AccessRecord | null {
    const { onAccess, now } = this.#options;
    return onAccess && new AccessRecord(name, requestId, now(), onAccess);
  }

  /** The way of a request: screened, and if it spends nothing forwarded. A promise resolves when it is settled. */
  #handle(route: OpenRoute, exchange: Exchange): Promise<unknown> | void {
    const { request } = exchange;
    const objection = screen(request, this.#pseudonym);
    if (objection !== null) return this.#answers.turnAway(exchange, objection);
    const { url = '/', method = 'GET' } = request;
    const path = meteredPath(route.dialect, method, url);
    const metered = path !== null;
    if (metered) exchange.record = this.#openRecord(route, exchange);
    if (this.#draining) return this.#answers.postpone(exchange, DRAINING);
    if (metered) return this.#handleMetered(route, exchange, path);
    exchange.invite();
    const body = hasBody(request) ? streamedBody(request, this.#options.timers) : null;
    return this.#forwarder.forward(route, exchange, {
      body,
      admission: null,
      shaped: null,
      onSuccess: this.#onMissed(route, method, url),
    });
  }

  /** What to do once a request that is not metered has succeeded, if another dialect would meter it. */
  #onMissed({ name, dialect }: OpenRoute, method: string, target: string): (() => void) | null {
    const { missed } = this.tally;
    if (method !== 'POST' || missed.has(name)) return null;
    const other = meteredByAnother(dialect.name, method, target.replace(/\?.*/s, ''));
    if (other === null) return null;
    return () => {
      if (missed.has(name)) return;
      missed.set(name, other);
      this.#options.log.warn('requests pass unmetered that another dialect would meter', {
        upstream: name,
        dialect: dialect.name,
        other,
      });
    };
  }

  /** One that spends the limits: held, admitted, forwarded. Few promises, for there is much traffic. */
  async #handleMetered(route: OpenRoute, exchange: Exchange, path: string): Promise<void> {
    const hold = await this.#bodies.hold(exchange.request, () => exchange.invite());
    if (hold.kind !== 'held') return this.#answerUnheld(exchange, hold);
    const held = hold.body;
    try {
      if (this.#draining) return this.#answers.postpone(exchange, DRAINING);
      const asked = this.#readRequest(route, exchange, held, path);
      const outcome = await this.#options.governor.admit(asked.scope, asked.asks);
      const admission = this.#admissionOf(exchange, held, asked, outcome);
      if (admission === 'refused') return;
      const { model } = asked.asks;
      // What nobody reads need not be asked for.
      const shaped =
        admission === null ? null : route.shaping.shape(exchange.request, held, path, model);
      const onSuccess = shaped && (() => route.shaping.taken(model));
      const to = { body: held, admission, shaped, onSuccess };
      const rejected = await this.#forwarder.forward(route, exchange, to);
      if (!rejected || shaped === null || exchange.over) return;
      held.restart(shaped.undo(held.bytes));
      await this.#sendAsItCame(route, exchange, held, asked);
    } finally {
      held.release();
    }
  }

  /**
   * The upstream's answer was about what had been added: the client gets the one to what it sent.
   * That is another request to the upstream, and admitted and charged as any. If it succeeds, then
   * the addition was the fault.
   */
  async #sendAsItCame(
    route: OpenRoute,
    exchange: Exchange,
    held: HeldBody,
    asked: Asked,
  ): Promise<void> {
    const { scope, asks } = asked;
    if (this.#draining) return this.#answers.postpone(exchange, DRAINING);
    const outcome = await this.#options.governor.admit(scope, asks);
    const admission = this.#admissionOf(exchange, held, asked, outcome);
    if (admission === 'refused') return route.shaping.doubted(asks.model);
    const onSuccess = () => route.shaping.refused(asks.model, asks.requestId);
    // Who refuses often closes the connection with it, and a request that had gone out there is lost.
    const fresh = { ...route, agent: route.freshAgent };
    await this.#forwarder.forward(fresh, exchange, {
      body: held,
      admission,
      shaped: null,
      onSuccess,
    });
  }

  /** The body is not whole. */
  #answerUnheld(exchange: Exchange, hold: Exclude<HoldOutcome, { kind: 'held' }>): void {
    switch (hold.kind) {
      case 'too-large': {
        const message = `the body of a metered request may have at most ${hold.limitBytes} bytes`;
        return this.#answers.turnAway(exchange, { kind: 'too-large', message });
      }
      case 'no-room':
        return this.#answers.postpone(exchange, NO_ROOM);
      case 'incomplete':
        exchange.response.destroy();
    }
  }

  /** What the governor is to know of the request. */
  #readRequest(
    route: OpenRoute,
    { request, requestId, record }: Exchange,
    held: HeldBody,
    path: string,
  ): Asked {
    const fields = headerFields(request.headers);
    const scope = route.scopeOf((name) => fields.get(name));
    const { model, session } = route.dialect.readRequest(fields, held.bytes, path);
    const bodyBytes = held.bytes.length;
    record?.asked(scope, model, session, bodyBytes);
    return { scope, asks: { requestId, model, session, bodyBytes } };
  }

  /** Null: passes unrecorded, in observe mode. A refusal is answered here. */
  #admissionOf(
    exchange: Exchange,
    held: HeldBody,
    { scope, asks }: Asked,
    outcome: AdmissionOutcome,
  ): Admission | null | 'refused' {
    const { observe, log } = this.#options;
    const { requestId } = exchange;
    const admits = outcome.kind === 'admitted' ? 'admitted' : 'refused';
    this.tally.decisionMs[admits].record(SYSTEM_TIME.monotonic() - held.heldAt);
    switch (outcome.kind) {
      case 'admitted':
        exchange.record?.estimated(outcome.admission.estimate);
        this.tally.admissions.add(scope, 'admitted');
        if (outcome.observed !== null) {
          const { decision, until } = outcome.observed;
          this.tally.observed.add(scope, decision);
          log.info('would refuse', { scope, requestId, decision, until: rfc3339(until) });
        }
        return outcome.admission;
      case 'refused':
        exchange.record?.estimated(outcome.estimate);
        this.#answers.deny(exchange, outcome, { scope, model: asks.model });
        return 'refused';
      case 'state-unavailable':
        if (!observe) {
          this.#answers.postpone(exchange, STATE_UNAVAILABLE, { scope, problem: outcome.problem });
          return 'refused';
        }
        this.tally.observed.add(scope, 'state');
        log.warn('passed unrecorded: the state cannot be written', {
          scope,
          requestId,
          problem: outcome.problem,
        });
        return null;
    }
  }
}
