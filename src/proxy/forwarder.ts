import type { PassThrough } from 'node:stream';
import type { Dispatcher } from 'undici';
import { cleanName } from '../dialects/clean-name.js';
import type { HeaderFields, ShapedAnswer } from '../dialects/dialect.js';
import { headerFields } from '../dialects/header-fields.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import { SYSTEM_TIME } from '../platform/clock.js';
import type { Timers } from '../platform/timers.js';
import type { Exchange } from './exchange.js';
import { requestHeaders } from './headers.js';
import { HeldBody } from './held-bodies.js';
import type { LocalAnswers } from './local-answers.js';
import type { ProxyTally } from './proxy-tally.js';
import { Relay } from './relay.js';
import type { OpenRoute } from './route.js';

/** Longest id of an organization: what can be configured has no more characters. */
const MAX_ORGANIZATION = 100;

export interface ForwarderOptions {
  readonly governor: Governor;
  readonly timers: Timers;
  /** Epoch ms. */
  readonly now: () => number;
  /** Takes the `Date` header of upstream answers. */
  readonly onDate: (date: string) => void;
  readonly tally: ProxyTally;
  readonly answers: LocalAnswers;
  /** All exchanges of this process. */
  readonly underWay: { readonly size: number };
  /** Our name in `Via`. */
  readonly pseudonym: string;
}

/** How an exchange goes on to the upstream. */
export interface Forwarding {
  readonly body: HeldBody | PassThrough | null;
  readonly admission: Admission | null;
  readonly shaped: ShapedAnswer | null;
  /** Called for a 2xx, before anything of it is relayed. */
  readonly onSuccess: (() => void) | null;
}

/** Takes requests to their upstream, and what the answers' heads tell to whom it concerns. */
export class Forwarder {
  constructor(private readonly options: ForwarderOptions) {}

  /**
   * Sends the request on, and the answer back; resolves when that is over and settled. To true if
   * the answer was about what had been added to the request, and did not go back.
   */
  forward(route: OpenRoute, exchange: Exchange, forwarding: Forwarding): Promise<boolean> {
    const { governor, timers, now, tally, answers, underWay } = this.options;
    const { body, admission, shaped, onSuccess } = forwarding;
    const { dialect, agent, timeoutMs } = route;
    if (exchange.over) {
      if (admission !== null) governor.settle(admission, { kind: 'not-sent' });
      return Promise.resolve(false);
    }
    const message = this.#messageOf(route, exchange, forwarding);
    const held = body instanceof HeldBody ? body : null;
    const metered = held !== null;
    exchange.record?.forwarded();
    const sentAfterMs = metered ? SYSTEM_TIME.monotonic() - held.heldAt : 0;
    return new Promise((resolve) => {
      const relay = new Relay({
        exchange,
        dialect,
        governor,
        admission,
        shaped,
        timers,
        underWay,
        timeoutMs,
        now,
        onHead: (fields, status) => {
          tally.answered(route.name, metered, status);
          exchange.record?.answered(status);
          if (!shaped?.mayReject(status)) held?.sent();
          if (status < 300) onSuccess?.();
          this.#takeHead(route, exchange, fields);
        },
        onRelayed: (afterHeadMs) => {
          if (metered) tally.firstByteMs.record(sentAfterMs + afterHeadMs);
        },
        dispatch: (handler) => void agent.dispatch(message, handler),
        onNoAnswer: (noAnswer) => {
          tally.answered(route.name, metered, 0);
          exchange.record?.answered(0);
          answers.fail(exchange, noAnswer, route);
        },
        onDone: resolve,
      });
      relay.send();
    });
  }

  /** The request as undici takes it. */
  #messageOf({ url }: OpenRoute, { request }: Exchange, { body, shaped }: Forwarding) {
    const held = body instanceof HeldBody;
    return {
      origin: url.origin,
      method: request.method as Dispatcher.HttpMethod,
      path: (url.pathname === '/' ? '' : url.pathname) + (request.url ?? '/'),
      headers: requestHeaders(request, {
        pseudonym: this.options.pseudonym,
        // undici states the length of a buffer; of all else it knows what it is told.
        contentLength: held ? body.lengthToState : request.headers['content-length'],
        plainAnswer: shaped !== null,
      }),
      // Its types leave out what it takes besides: anything that can be walked.
      body: (held ? body.outgoing() : body) as NonNullable<
        Dispatcher.DispatchOptions['body']
      > | null,
    };
  }

  /** What an answer's headers tell beside its own business. */
  #takeHead(route: OpenRoute, { request }: Exchange, answer: HeaderFields): void {
    const date = answer.get('date');
    if (date !== undefined) this.options.onDate(date);
    const { organizationHeader } = route.dialect;
    if (route.onOrganization === null || organizationHeader === null) return;
    const organization = answer.get(organizationHeader);
    const asked = headerFields(request.headers);
    if (organization === undefined) return;
    const id = cleanName(organization, MAX_ORGANIZATION);
    route.onOrganization((name) => asked.get(name), id);
  }
}
