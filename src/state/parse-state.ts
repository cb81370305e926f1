import { TidegateError } from '../platform/tidegate-error.js';
import {
  type Check,
  count,
  Mismatch,
  flag,
  instant,
  list,
  map,
  nullable,
  number,
  object,
  oneOf,
  share,
  text,
} from './check.js';
import { limitState } from './parse-limit.js';
import {
  type BackoffState,
  BOUNDS,
  type CalibrationState,
  type CautiousState,
  type ClockSetBack,
  type ColdState,
  type Cooldown,
  type CooldownKind,
  type Counters,
  emptyScopeState,
  type EventDetail,
  type EventRecord,
  type HotState,
  type InstanceStart,
  type InstanceState,
  type LimitFigures,
  type LossReason,
  type ModelEstimate,
  NO_OVERLOAD,
  type OverloadPause,
  type PendingSample,
  type PoolState,
  type Probe,
  type RampState,
  type Sample,
  SCHEMA,
  type ScopeState,
  type StateLoss,
  type ToldGuard,
  type TurnState,
} from './scope-state.js';

/**
 * Step n turns a scope's document of major n + 1 into one of major n + 2. Append-only; each comes
 * with a saved sample of the version before and a test. New fields with a default need no step; a
 * new value of a kind or reason does, because older versions refuse values they don't know.
 */
const UPGRADES: readonly ((document: unknown) => unknown)[] = [];

/**
 * Reads a scope's document as a store kept it, written under the schema of `major`. Fields that an earlier
 * minor version did not have get the empty state's value; what the first one had must be there, for a charge or
 * a cooldown that is missing is unknown, and not zero. Fields this version doesn't know are kept.
 *
 * @throws TidegateError STATE_CORRUPT naming the bad field, STATE_NEWER.
 */
export function parseScopeState(raw: unknown, major: number = SCHEMA.major): ScopeState {
  checkMajor(major);
  const document = UPGRADES.slice(major - 1).reduce((older, upgrade) => upgrade(older), raw);
  return parse(scopeState, document, 'the scope');
}

/** @throws TidegateError STATE_CORRUPT */
export function parseStateLoss(raw: unknown): StateLoss {
  return parse(stateLoss, raw, 'lost');
}

/**
 * @throws TidegateError STATE_NEWER for a schema of a later version, STATE_CORRUPT for none at all.
 */
export function checkMajor(major: unknown): asserts major is number {
  if (typeof major !== 'number' || !Number.isInteger(major) || major < 1) {
    throw new TidegateError('STATE_CORRUPT', `schema.major: expected a number from 1 up`);
  }
  if (major > SCHEMA.major) {
    throw new TidegateError(
      'STATE_NEWER',
      `the state has schema ${major}, and this version reads up to ${SCHEMA.major}`,
      { hint: 'start the version that wrote it, or a later one' },
    );
  }
}

/**
 * What is wrong with a state about to be saved, or null: it must be readable at the next start.
 *
 * @param before A sound one; what is still the same in it is not looked at again.
 */
export function faultOf(state: ScopeState, before?: ScopeState): string | null {
  try {
    scopeState(state, before);
    return null;
  } catch (error) {
    if (error instanceof Mismatch) return describe(error, 'the scope');
    throw error;
  }
}

function parse<Value>(check: Check<Value>, raw: unknown, name: string): Value {
  try {
    return check(raw);
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error;
    throw new TidegateError('STATE_CORRUPT', describe(error, name), { cause: error });
  }
}

function describe(mismatch: Mismatch, name: string): string {
  return `${mismatch.place || name}: expected ${mismatch.expected}`;
}

const EMPTY = emptyScopeState();

const cooldownKind = oneOf<CooldownKind>(
  'quota',
  'rate',
  'acceleration',
  'terminal',
  'transient',
  'unknown',
);
const lossReason = oneOf<LossReason>(
  'corrupt',
  'missing',
  'restored',
  'empty',
  'altered',
  'rolled-back',
  'clock',
);

const cooldown = object<Cooldown>(
  {
    since: instant,
    until: instant,
    kind: cooldownKind,
    rung: count,
    limit: nullable(text),
    blamed: nullable(text),
    probedAt: nullable(instant),
  },
  // Added with minor 3.
  { blamed: null },
);
const probe = object<Probe>({
  sequence: count,
  instance: text,
  takenAt: instant,
  expiresAt: instant,
});
const backoffState = object<BackoffState>({
  episode: count,
  cooldown: nullable(cooldown),
  probes: list(probe, BOUNDS.probes),
  transientAt: nullable(instant),
  overload: object<OverloadPause>(
    { number: count, rung: count, since: instant, until: instant, inAnswer: flag },
    // `inAnswer` was added with minor 3.
    NO_OVERLOAD,
  ),
});
const pendingSample = object<PendingSample>(
  {
    at: instant,
    episode: count,
    kind: cooldownKind,
    limit: nullable(text),
    window: count,
    sequence: count,
    outstanding: count,
    tokens: count,
    from: nullable(instant),
    weight: share,
    orphaned: count,
    confirmed: flag,
    reason: nullable(text),
  },
  // Added with minor 2.
  { from: null, weight: 1 },
);
const poolState = object<PoolState>({
  episode: count,
  cooldown: nullable(cooldown),
  probes: list(probe, BOUNDS.probes),
  sample: nullable(pendingSample),
});
const cautiousState = object<CautiousState>({
  since: instant,
  until: instant,
  reason: lossReason,
  allowance: count,
});
const stateLoss = object<StateLoss>({
  reason: lossReason,
  at: instant,
  recordedAt: nullable(instant),
});
const clockSetBack = object<ClockSetBack>({ byMs: count, until: instant });
const turnState = object<TurnState>({
  since: instant,
  until: instant,
  amounts: map(count, BOUNDS.limits),
});
const instanceState = object<InstanceState>(
  {
    startedAt: instant,
    seenAt: instant,
    stoppedAt: nullable(instant),
    inFlight: count,
    guessed: count,
    coldTokens: count,
    turn: nullable(turnState),
  },
  // Added with minor 2, and with minor 3.
  { guessed: 0, coldTokens: 0, turn: null },
);
const rampState = object<RampState>({ allowance: count, at: instant });
const counters = object<Counters>(
  {
    admitted: count,
    refused: count,
    upstreamRequests: count,
    upstream429: count,
    upstreamOverloaded: count,
  },
  EMPTY.hot.counters,
);
const sample = object<Sample>({
  at: instant,
  limit: nullable(text),
  tokens: count,
  accepted: flag,
  reason: nullable(text),
  episode: count,
});
const modelEstimate = object<ModelEstimate>(
  {
    count,
    usedAt: instant,
    promptTokensPerByte: count,
    outputTokens: count,
    cachedShare: share,
    cachedShareCount: count,
    lateCachedShare: share,
    lateCachedShareCount: count,
    staleCachedShare: share,
    staleCachedShareCount: count,
    costP99: count,
    excessP99: count,
  },
  // Added with minor 2. A share of before is taken for that of many requests; late was any pause.
  {
    excessP99: 0,
    cachedShareCount: 20,
    lateCachedShareCount: 0,
    staleCachedShare: 0,
    staleCachedShareCount: 0,
    // Added with minor 3: as if it had not been used for long, until it is used again.
    usedAt: 0,
  },
);
const hotState = object<HotState>(
  {
    limits: map(limitState, BOUNDS.limitsEver),
    backoff: backoffState,
    pools: map(poolState, BOUNDS.pools),
    pendingSample: nullable(pendingSample),
    cautious: nullable(cautiousState),
    lost: nullable(stateLoss),
    setBack: nullable(clockSetBack),
    instances: map(instanceState, BOUNDS.instances),
    sequence: count,
    firstAdmittedAt: nullable(instant),
    counters,
    ramp: nullable(rampState),
    admittedAt: nullable(instant),
  },
  // Counters are for people. The others were added with minor 1 to 3.
  { counters: EMPTY.hot.counters, pools: {}, setBack: null, ramp: null, admittedAt: null },
);
const calibrationState = object<CalibrationState>(
  {
    accepted: count,
    discarded: count,
    samples: list(sample, BOUNDS.samples),
    belowFloorInARow: count,
  },
  EMPTY.cold.calibration,
);
/** Each kind of event has a few fields of its own. */
const DETAILS = 12;
const finite: Check<number> = number(-Number.MAX_VALUE, Number.MAX_VALUE);
const detail: Check<EventDetail> = (raw) => {
  if (raw === null || typeof raw === 'string' || typeof raw === 'boolean') return raw;
  return finite(raw);
};
const limitFigures = object<LimitFigures>({
  budget: nullable(count),
  source: text,
  used: count,
  reserved: count,
  orphaned: count,
  others: count,
  windowEndsAt: nullable(instant),
});
const eventRecord = object<EventRecord>({
  id: count,
  at: instant,
  kind: text,
  cause: text,
  limit: nullable(text),
  requestId: nullable(text),
  instance: text,
  before: nullable(limitFigures),
  after: nullable(limitFigures),
  details: map(detail, DETAILS),
});
const toldGuard = object<ToldGuard>({ guard: text, at: instant });
const instanceStart = object<InstanceStart>({ at: instant, unclean: flag });
const coldState = object<ColdState>(
  {
    calibration: calibrationState,
    estimates: map(modelEstimate, BOUNDS.models),
    starts: map(list(instanceStart, BOUNDS.startsPerInstance), BOUNDS.instances),
    organizations: map(text, BOUNDS.keys),
    events: list(eventRecord, BOUNDS.events),
    guards: map(toldGuard, BOUNDS.limitsEver),
  },
  // `events` and `guards` were added with minor 2.
  EMPTY.cold,
);
const scopeState = object<ScopeState>({ hot: hotState, cold: coldState });
