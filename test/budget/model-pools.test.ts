import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binds, matchesModel, rulesFor } from '../../src/budget/model-pools.js';
import { limitOf, type Limits } from '../../src/budget/limits.js';
import { CONTROLLER, rule, tokens } from './support.js';

describe('a pattern', () => {
  it.each([
    ['claude-opus-4-1', 'claude-opus-4-1', true],
    ['claude-opus-4-1', 'claude-opus-4-1-20250805', false],
    ['claude-opus-*', 'claude-opus-4-1', true],
    ['claude-opus-*', 'claude-opus-', true],
    ['claude-opus-*', 'claude-sonnet-4-5', false],
    ['*opus*', 'us.anthropic.claude-opus-4-1-v1:0', true],
    ['*-mini', 'gpt-4o-mini', true],
    ['*-mini', 'gpt-4o-mini-2024', false],
    ['gpt-*-mini', 'gpt-5-mini', true],
    // The two ends may not share what is there once.
    ['ab*ba', 'aba', false],
    ['a*b*c', 'a-c-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['*', '', true],
    ['*', 'anything', true],
    ['**', 'anything', true],
    ['a.c', 'abc', false],
  ])('%s and %s: %s', (pattern, name, expected) => {
    expect(matchesModel(pattern, name)).toBe(expected);
  });

  it('means what the regular expression of it means', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 });
    fc.assert(
      fc.property(text, name, (pattern, model) => {
        const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
        expect(matchesModel(pattern, model)).toBe(expression.test(model));
      }),
    );
  });

  it('takes no time to speak of for a name made to take some', () => {
    const pattern = `${'a*'.repeat(49)}b`;
    expect(matchesModel(pattern, `${'a'.repeat(100_000)}c`)).toBe(false);
  });
});

describe('a request', () => {
  const all = rule(1_000, { name: 'all' });
  const opus = rule(100, { name: 'opus', models: ['claude-opus-*'] });
  const rules = [all, opus];

  it.each([
    ['claude-opus-4-1', ['all', 'opus']],
    ['Claude-OPUS-4-1', ['all', 'opus']],
    ['claude-sonnet-4-5', ['all']],
    // It may be of any model, and unknown is never zero.
    ['', ['all', 'opus']],
  ])('of %s is charged to %s', (model, names) => {
    expect(rulesFor(rules, model).map(({ name }) => name)).toEqual(names);
  });

  const pools = [all, opus, rule(100, { name: 'sonnet', models: ['*sonnet*', 'claude-haiku-*'] })];
  const event = fc.record({
    model: fc.constantFrom('claude-opus-4-1', 'claude-sonnet-4-5', 'claude-haiku-4-5', 'other', ''),
    amount: fc.integer({ min: 1, max: 120 }),
    actual: fc.integer({ min: 0, max: 200 }),
    amended: fc.option(fc.integer({ min: 0, max: 200 })),
  });

  it('changes no limit of other models, and all of its own or none', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        let limits: Limits = CONTROLLER.roll({}, pools, 0);
        const spent: Record<string, number> = { all: 0, opus: 0, sonnet: 0 };
        for (const { model, amount, actual, amended } of events) {
          const own = rulesFor(pools, model);
          const room = own.every(
            ({ name, budget }) =>
              limitOf(limits, name).used + Math.min(amount, budget ?? 0) <= (budget ?? 0),
          );
          const request = { cost: tokens(amount), instance: 'a', cautious: false };
          const charged = CONTROLLER.charge(limits, own, request, 1);
          expect(charged.outcome.kind).toBe(room ? 'charged' : 'refused');
          limits = charged.limits;
          if (charged.outcome.kind === 'refused') {
            const full = own.filter(
              ({ name, budget }) =>
                limitOf(limits, name).used + Math.min(amount, budget ?? 0) > (budget ?? 0),
            );
            expect(charged.outcome.full).toEqual(full.map(({ name }) => name));
            continue;
          }
          let { charge } = charged.outcome;
          expect(Object.keys(charge)).toEqual(own.map(({ name }) => name));
          if (amended !== null) {
            const change = CONTROLLER.amend(limits, pools, charge, tokens(amended), 'a', 0);
            ({ limits, outcome: charge } = change);
          }
          limits = CONTROLLER.settle(limits, pools, charge, tokens(actual), 'a', 0);
          for (const { name } of own) spent[name] = (spent[name] ?? 0) + actual;
          for (const { name } of pools) expect(limitOf(limits, name).used).toBe(spent[name]);
        }
      }),
    );
  });

  it('without any limit of its own is charged to none', () => {
    expect(binds(opus, 'gpt-5')).toBe(false);
    const request = { cost: tokens(5_000), instance: 'a', cautious: false };
    const outcome = CONTROLLER.charge({}, rulesFor([opus], 'gpt-5'), request, 0);
    expect(outcome).toEqual({ limits: {}, outcome: { kind: 'charged', charge: {} } });
  });
});
