import type { Charge } from '../budget/budget-controller.js';
import type { Cost } from '../budget/cost.js';
import { type Admission, takeAlong } from './admission.js';
import type { Correction } from './correction-queue.js';
import type { Draft } from './draft.js';
import { MOST_UNKNOWN } from './durable-updates.js';
import type { Policies } from './policies.js';
import type { ScopeRuntime } from './scope-runtime.js';
import {
  type AmendRequest,
  amend,
  exceedsCharge,
  lowerCharge,
  repeatExcess,
  settle,
  type SettleRequest,
  tell,
} from './settle.js';
import type { Told } from './statements.js';
import { succeed } from './verdict.js';

/** What corrections are made with. */
export interface Setting {
  readonly policies: Policies;
  readonly instance: string;
  readonly runtime: ScopeRuntime;
}

const always = () => true;
const nothing = () => {};

/** The first success that others wait for. Safe to make twice. */
export function success(admission: Admission, { policies, instance }: Setting): Correction {
  const told = { instance, stated: admission.statements.length > 0 };
  let charge: Charge;
  const decide = (draft: Draft) => {
    charge = succeed(draft, policies, admission.grant, told);
  };
  return {
    ...of(admission),
    isWanted: always,
    begin: nothing,
    decide,
    doubt: () => ({ decide, mostUnknown: Number.POSITIVE_INFINITY }),
    end: (durable) => {
      if (durable) admission.grant = { ...admission.grant, charge };
    },
  };
}

/** What the upstream states is news. Safe to make twice. */
export function telling(admission: Admission, { policies }: Setting): Correction {
  let told: Told;
  const decide = (draft: Draft) => {
    const { grant, estimate } = admission;
    tell(draft, policies, { grant, estimate, told });
  };
  return {
    ...of(admission),
    // An amendment or the settlement takes them along, if it comes before the next admission does.
    isWanted: () => !admission.carried,
    begin: () => {
      told = takeAlong(admission, admission.recorded);
    },
    decide,
    doubt: () => ({ decide, mostUnknown: Number.POSITIVE_INFINITY }),
    end: nothing,
  };
}

/** `estimate` is what the request is charged from now on. */
export function amendment(
  admission: Admission,
  estimate: Cost,
  { policies, instance, runtime }: Setting,
): Correction {
  let request: AmendRequest;
  let charge: Charge;
  return {
    ...of(admission),
    // While it waits for company the settlement may overtake it.
    isWanted: () => !admission.settled,
    begin: () => {
      const { grant, guessed } = admission;
      admission.guessed = false;
      const told = takeAlong(admission, estimate);
      request = { grant, estimate, instance, guessed, told };
    },
    decide: (draft) => {
      charge = amend(draft, policies, request);
    },
    doubt: () => {
      const { grant } = request;
      const lower = lowerCharge(grant.charge, runtime.rules.limits, estimate);
      admission.grant = { ...grant, charge: lower };
      return null;
    },
    end: (durable) => {
      if (durable) admission.grant = { ...request.grant, charge };
    },
  };
}

/** The last one. */
export function settlement(
  admission: Admission,
  { actual, whole, estimate }: Pick<SettleRequest, 'actual' | 'whole' | 'estimate'>,
  { policies, instance, runtime }: Setting,
): Correction {
  let request: SettleRequest;
  return {
    ...of(admission),
    isWanted: always,
    begin: () => {
      const { grant, guessed } = admission;
      // What was no news when the answer began is old by now.
      const told = takeAlong(admission, actual, !admission.isNews);
      request = { grant, actual, whole, instance, guessed, estimate, told };
    },
    decide: (draft) => settle(draft, policies, request),
    doubt: () => {
      if (!exceedsCharge(request.grant.charge, runtime.rules.limits, actual)) return null;
      const decide = (draft: Draft) => repeatExcess(draft, policies, request);
      return { decide, mostUnknown: MOST_UNKNOWN };
    },
    end: () => {
      runtime.active -= 1;
    },
  };
}

function of(admission: Admission): Pick<Correction, 'admission' | 'requestId'> {
  return { admission, requestId: admission.request.requestId };
}
