import { describe, expect, it } from 'vitest';
import { limitOf } from '../../src/budget/limits.js';
import { attribute } from '../../src/governor/attribution.js';
import { limit } from './support.js';

describe('a refusal that names no limit, where there are several', () => {
  const rules = [limit({ name: 'hour', budget: 1_000 }), limit({ name: 'week', budget: 1_000 })];

  function blamed(hour: number, week: number): string | null {
    const used = (amount: number) => {
      const unused = limitOf({}, 'any');
      return { ...unused, used: amount, budget: { ...unused.budget, current: 1_000 } };
    };
    return attribute([], [], { hour: used(hour), week: used(week) }, rules).limit;
  }

  it('is blamed on the fullest, if half of it is used', () => {
    expect(blamed(500, 100)).toBe('hour');
    expect(blamed(500, 501)).toBe('week');
  });

  it('is blamed on none that is less used than that', () => {
    expect(blamed(499, 100)).toBeNull();
  });
});
