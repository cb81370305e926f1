import { ANTHROPIC } from './anthropic/anthropic-dialect.js';
import type { Dialect, DialectName } from './dialect.js';
import { genericDialect, type GenericSettings } from './generic/generic-dialect.js';
import { openAiDialect, type OpenAiSettings } from './openai/openai-dialect.js';

/** What an upstream's configuration says of its API; each dialect takes what is its own. */
export interface DialectSettings extends OpenAiSettings, GenericSettings {
  readonly dialect: DialectName;
}

export function dialectOf(settings: DialectSettings): Dialect {
  switch (settings.dialect) {
    case 'anthropic':
      return ANTHROPIC;
    case 'openai':
      return openAiDialect(settings);
    case 'generic':
      return genericDialect(settings);
  }
}
