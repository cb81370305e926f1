// Which paths spend the limits. `*` stands for any one segment, as in `/v1/*/run`; `**` at the end for
// everything below, `/v2/**`.
const PATTERN = /^(?:\/(?:\*|[\w.~!$&'()+;=:@-]+))*(?:\/\*\*|\/)?$/;
const MAX_LENGTH = 200;

/** A test for paths without their query, or null for a text that is no pattern. */
export function parseMeteredPath(text: string): RegExp | null {
  if (text === '' || text.length > MAX_LENGTH || !PATTERN.test(text)) return null;
  const segments = text.split('/').filter((segment) => segment !== '');
  const below = segments.at(-1) === '**';
  if (below) segments.pop();
  const source = segments.map((segment) => `/+${segment === '*' ? '[^/]+' : escaped(segment)}`);
  // A server may take slashes and letters more loosely than its documentation.
  return new RegExp(`^${source.join('')}${below ? '(?:/[^]*)?' : '/*'}$`, 'i');
}

function escaped(segment: string): string {
  return segment.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
