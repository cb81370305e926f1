import type { LimitState, ScopeState } from './scope-state.js';

/** Charges are sums of many numbers that need not be whole. */
const TOLERANCE = 1e-6;

/**
 * What can't be true of a scope's state, whatever happened to it, in words. That each value is of its
 * type and within its bounds is checked by `parseScopeState` already.
 */
export function auditScope({ hot, cold }: ScopeState): readonly string[] {
  const findings = Object.entries(hot.limits).flatMap(([name, limit]) =>
    auditLimit(limit).map((finding) => `limit ${name}: ${finding}`),
  );
  const ladders = [{ ...hot.backoff, sample: hot.pendingSample }, ...Object.values(hot.pools)];
  const { calibration } = cold;
  const accepted = calibration.samples.filter((sample) => sample.accepted).length;
  const rules: readonly (readonly [boolean, string])[] = [
    [
      ladders.every(({ cooldown }) => cooldown === null || cooldown.until >= cooldown.since),
      'its cooldown ends before it begins',
    ],
    [
      ladders.every(({ probes }) => probes.every(({ sequence }) => sequence <= hot.sequence)),
      'a probe has a number that no admission had yet',
    ],
    [
      ladders.every(({ sample }) => sample === null || sample.sequence <= hot.sequence),
      'its pending sample counts admissions that did not happen yet',
    ],
    [
      // Some that were accepted may be on record as discarded: the operator takes back what they taught.
      accepted <= calibration.accepted &&
        calibration.samples.length <= calibration.accepted + calibration.discarded,
      'it keeps more samples than it has counted',
    ],
  ];
  return [...findings, ...rules.flatMap(([holds, finding]) => (holds ? [] : [finding]))];
}

function auditLimit(limit: LimitState): string[] {
  const { window, used, cells, bucket, unsettled, orphaned, others } = limit;
  const findings: string[] = [];
  // What is in flight drains from a bucket, or frees with its cell, and stays on record until it settles.
  const rolls = bucket !== null || cells.length > 0;
  const inFlight = rolls ? 0 : Object.values(unsettled).reduce((sum, part) => sum + part, 0);
  if (inFlight + orphaned + others > used + TOLERANCE * Math.max(1, used)) {
    const parts = `${inFlight} in flight, ${orphaned} orphaned and ${others} of others`;
    findings.push(`${parts} are more than the ${used} used`);
  }
  const { startedAt, endsAt } = window;
  if (startedAt !== null && endsAt !== null && endsAt < startedAt) {
    findings.push('its window ends before it begins');
  }
  return findings;
}
