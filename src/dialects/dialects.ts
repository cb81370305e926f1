import { ANTHROPIC } from './anthropic/anthropic-dialect.js';
import type { Dialect, DialectName } from './dialect.js';

/** Every dialect there is, by the name of TIDEGATE_DIALECT. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = { anthropic: ANTHROPIC };
