import type { LimitStatement } from '../governor/attribution.js';
import type { Standing } from './upstream.js';
import type { HeaderKind } from './world.js';

const SECOND = 1_000;
/** Anthropic rounds what remains to the nearest thousand tokens. */
const ROUNDED_TO = 1_000;
const PERCENT = 100;

/** What the headers of an answer say of the limit, each kind with the rounding of its provider. */
export function statementsOf(
  headers: Exclude<HeaderKind, 'none'>,
  windowMs: number,
  standing: Standing,
  toInstant: (elapsedMs: number) => number,
): readonly LimitStatement[] {
  const resetAt = Math.ceil(toInstant(standing.resetAt) / SECOND) * SECOND;
  const base = { windowMs, resetAt, representative: true };
  const { limit, used } = standing;
  const remaining = Math.max(0, Math.floor(limit - used));
  switch (headers) {
    case 'unified': {
      const utilization = Math.round((used / limit) * PERCENT) / PERCENT;
      const status = used < limit ? 'allowed' : 'rejected';
      return [{ ...base, name: '5h', status, limit: null, remaining: null, utilization }];
    }
    case 'anthropic': {
      const rounded = Math.round(remaining / ROUNDED_TO) * ROUNDED_TO;
      return [{ ...base, name: 'tokens', limit, remaining: rounded, ...NO_FRACTION }];
    }
    case 'openai':
      return [{ ...base, name: 'tokens', limit, remaining, ...NO_FRACTION }];
  }
}

const NO_FRACTION = { status: null, utilization: null } as const;
