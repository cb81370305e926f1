import type { openControlPlane } from './control-plane.js';
import { sleep, SYSTEM_TIMERS, turnEnds } from './platform/timers.js';

/** The packages of the control plane, each with what it needs and those before it did not. */
const PARTS: readonly (() => Promise<unknown>)[] = [
  () => import('rxjs'),
  () => import('@nestjs/common'),
  () => import('axios'),
  () => import('@nestjs/core'),
  () => import('@nestjs/platform-fastify'),
  () => import('@nestjs/schedule'),
  () => import('@nestjs/terminus'),
  () => import('prom-client'),
];

/** Requests that take longer are streams, which wait for the upstream and not for this thread. */
const GIVE_WAY_MS = 20;
const LOOK_MS = 1;

/**
 * Loads the control plane part by part, while no request is under way. To compile and run it takes the
 * thread a fifth of a second, and in these moments come those who found the port closed.
 */
export async function loadControlPlane(busy: () => boolean): Promise<typeof openControlPlane> {
  for (const load of PARTS) {
    await load();
    await giveWay(busy);
  }
  return (await import('./control-plane.js')).openControlPlane;
}

async function giveWay(busy: () => boolean): Promise<void> {
  // What came while a part was loaded is taken in this turn.
  await turnEnds();
  for (let waitedMs = 0; waitedMs < GIVE_WAY_MS && busy(); waitedMs += LOOK_MS) {
    await sleep(SYSTEM_TIMERS, LOOK_MS);
  }
}
