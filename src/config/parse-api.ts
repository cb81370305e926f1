/** Parsers of settings that say what an API spends its limits on, for which models, and where it states that. */
import { parseJsonPath } from '../dialects/generic/json-path.js';
import { parseMeteredPath } from '../dialects/generic/metered-path.js';
import { parsed, wrong, type Parser } from './parse.js';

const MOST_PATHS = 32;

// As they were written, each of them readable.
export const METERED_PATHS: Parser<readonly string[]> = {
  allowed: `1 to ${MOST_PATHS} paths that begin with "/", separated by commas; "*" for any one segment, "**" at the end for everything below`,
  example: '/v1/search,/v1/*/run',
  parse(text) {
    const paths = text.split(',').map((path) => path.trim());
    if (paths.length > MOST_PATHS) return wrong(`has ${paths.length} paths`);
    const bad = paths.find((path) => parseMeteredPath(path) === null);
    if (bad === undefined) return parsed(paths);
    const hint = bad.startsWith('/') ? '' : '; a path begins with "/"';
    return wrong(`has in it what is no path: ${JSON.stringify(bad)}${hint}`);
  },
};

export const MOST_MODELS = 16;
const LONGEST_MODEL = 100;

/** Compared with the models of requests, of which a client chooses how to write them: in lower case. */
export const MODEL_PATTERNS: Parser<readonly string[]> = {
  allowed: `1 to ${MOST_MODELS} names of models, separated by commas; each 1 to ${LONGEST_MODEL} visible ASCII characters, "*" for any or none, upper and lower case alike`,
  example: 'claude-opus-*',
  parse(text) {
    const patterns = text.split(',').map((pattern) => pattern.trim().toLowerCase());
    if (patterns.length > MOST_MODELS) return wrong(`has ${patterns.length} names`);
    const bad = patterns.find((pattern) => !/^[!-~]{1,100}$/.test(pattern));
    if (bad !== undefined) return wrong(`has in it what names no model: ${JSON.stringify(bad)}`);
    return parsed(patterns);
  },
};

export const JSON_PATH: Parser<string> = {
  allowed:
    'names with dots between them, places in a list in brackets from 0 on, or from -1 back: usage.total_tokens, results[0].tokens, steps[-1].tokens',
  example: 'usage.total_tokens',
  parse(text) {
    return parseJsonPath(text) === null ? wrong('is not a path in JSON') : parsed(text);
  },
};
