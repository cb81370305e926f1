import { expect, it } from 'vitest';
import { openControlPlane } from '../../src/control-plane.js';
import { loadControlPlane } from '../../src/load-control-plane.js';

it('the control plane is loaded between requests, and where they never end all the same', async () => {
  let looks = 0;
  let under = 0;
  // Each request is under way for three looks.
  await loadControlPlane(() => (looks += 1) % 4 > 0 && (under += 1) > 0);
  expect(under).toBeGreaterThan(0);
  expect(looks % 4, 'it went on when none was under way').toBe(0);
  const loaded = await loadControlPlane(() => true);
  expect(loaded).toBe(openControlPlane);
});
