import { randomBytes } from 'node:crypto';

/** A number in [0, 1). Tests and the simulator pass a seeded one. */
export type Random = () => number;

export const SYSTEM_RANDOM: Random = () => Math.random();

/** `bytes` random bytes as lower-case hex. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}
