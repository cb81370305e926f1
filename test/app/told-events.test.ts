import { beforeEach, describe, expect, it } from 'vitest';
import { EventsController } from '../../src/admin/events.controller.js';
import type { DataPlane } from '../../src/data-plane.js';
import { EventFeed } from '../../src/history/event-feed.js';
import { EventRecorder } from '../../src/history/event-recorder.js';
import { SCOPE, SECOND, Town } from '../governor/support.js';
import { MemoryEventJournal } from '../support/memory-journal.js';

/** `GET /events`, of a governor that has done more than one answer holds. */

let town: Town;
let controller: EventsController;

beforeEach(async () => {
  town = await Town.open();
  const journal = new MemoryEventJournal();
  const parts = { repository: town.repository, journal, scopes: [SCOPE], timers: town.time };
  const recorder = new EventRecorder(parts);
  town.onRecord = (record) => recorder.take(SCOPE, record);
  for (let n = 0; n < 150; n += 1) await town.governor.clearCooldown(SCOPE);
  await town.pass(SECOND);
  controller = new EventsController({
    history: { events: new EventFeed(parts) },
    clock: { now: () => town.time.wall() },
    governor: town.governor,
  } as unknown as DataPlane);
});

const asked = (query: Readonly<Record<string, string>> = {}) =>
  controller.events(query['scope'], query['since'], query['limit'], query['after'], query['wait']);
const count = async (query: Readonly<Record<string, string>>) => (await asked(query)).events.length;

describe('events', () => {
  it('come a hundred at a time where nothing else is asked for, the newest', async () => {
    expect(await count({ limit: '1000' })).toBeGreaterThanOrEqual(150);
    const { events } = await asked();
    expect(events).toHaveLength(100);
    const all = (await asked({ limit: '1000' })).events;
    expect(events).toEqual(all.slice(-100));
  });

  it('go on from where an answer ended, and nowhere else', async () => {
    const { next } = await asked();
    expect(await count({ after: next })).toBe(0);
    await town.governor.clearCooldown(SCOPE);
    expect(await count({ after: next })).toBe(1);
  });

  it.each([
    ['an id that is a text', { [SCOPE]: '12' }],
    ['an id that is no whole number', { [SCOPE]: 1.5 }],
    ['an id beyond all that are exact', { [SCOPE]: 2 ** 53 }],
    ['an id that is more than one', { [SCOPE]: [1] }],
    ['a list', [1]],
    ['nothing', null],
  ])('do not go on from %s, which no answer has said', async (_, cursor) => {
    const after = Buffer.from(JSON.stringify(cursor)).toString('base64url');
    await expect(asked({ after })).rejects.toThrow('after: is not what "next"');
  });
});
