/** One mistake in what Tidegate was told. Every text in it is safe to print. */
export interface Problem {
  /** The environment variable, or the path in the file: `upstreams[0].limits[1].window`. */
  readonly name: string;
  /** File and line (`tidegate.yaml:12`); null for the environment. */
  readonly at: string | null;
  /** The value as given, without credentials; null if there was none or it is a secret. */
  readonly given: string | null;
  /** Goes on from the value: `is not a duration`. */
  readonly message: string;
  readonly allowed: string;
  readonly example: string | null;
}

/** Where a value came from, or would have come from. */
export interface Place {
  readonly name: string;
  readonly at: string | null;
}

/** What a mistake says beside its place. `example` and `given` may be left out. */
export interface Mistake {
  readonly given?: string | null;
  readonly message: string;
  readonly allowed: string;
  readonly example?: string | null;
}

/** Collects while the configuration is read, so that everything is reported at once. */
export class Findings {
  readonly problems: Problem[] = [];
  readonly warnings: string[] = [];
  readonly #set = new Map<string, string | null>();

  problem(place: Place, mistake: Mistake): void {
    const { given = null, message, allowed, example = null } = mistake;
    const shown = given === null ? null : printable(given);
    this.problems.push({
      name: printable(place.name),
      at: place.at,
      given: shown,
      // It may repeat a part of the value.
      message: withoutKeys(message),
      allowed,
      example,
    });
  }

  warn(text: string): void {
    this.warnings.push(text);
  }

  /** Remembers that the operator set something, and what that outdid. */
  applied(winner: Place, loser: Place | null): void {
    if (loser !== null) this.#set.delete(formatPlace(loser));
    this.#set.set(formatPlace(winner), loser === null ? null : formatPlace(loser));
  }

  /** What the operator set and is in effect: `TIDEGATE_MODE, over mode (tidegate.yaml:3)`. */
  get set(): readonly string[] {
    return [...this.#set].map(([winner, loser]) =>
      loser === null ? winner : `${winner}, over ${loser}`,
    );
  }
}

/** `TIDEGATE_WINDOW: "5 hours" is not a duration. Allowed: …; example: 5h` */
export function formatProblem(problem: Problem): string {
  const { name, at, given, message, allowed, example } = problem;
  const subject = given === null ? '' : `${JSON.stringify(given)} `;
  const stop = message.endsWith('?') ? '' : '.';
  const suffix = example === null ? '' : `; example: ${example}`;
  return `${formatPlace({ name, at })}: ${subject}${message}${stop} Allowed: ${allowed}${suffix}`;
}

export function formatPlace(place: Place): string {
  return place.at === null ? place.name : `${place.name} (${place.at})`;
}

const MOST_SHOWN = 80;

/**
 * A value as it may appear on a screen or in a log: no user and password of a URL, no query (keys are
 * passed in queries), nothing that looks like an API key pasted into the wrong place, not too long.
 */
export function printable(text: string): string {
  const safe = withoutKeys(
    text
      .replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1***@')
      .replace(/(:\/\/[^?#]*)[?#].*$/s, '$1?…'),
  );
  return safe.length > MOST_SHOWN ? `${safe.slice(0, MOST_SHOWN)}…` : safe;
}

function withoutKeys(text: string): string {
  return text.replace(/\bsk-[\w-]{8,}/gi, 'sk-…').replace(/\bbearer\s+\S+/gi, 'Bearer …');
}
