/** What breaks a line, or that some database takes for no text. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029]/gu;
const REPLACEMENT = '\ufffd';

/**
 * A name that somebody outside chose, fit for every place that keeps or shows it: at most so many
 * characters (UTF-16 units), none of them half of one, and none that controls anything. Called where a name
 * is read, so that nobody behind that has to.
 */
export function cleanName(name: string, mostCharacters: number): string {
  const cut = name.length <= mostCharacters ? name : wholeStart(name, mostCharacters);
  return cut.toWellFormed().replace(UNPRINTABLE, REPLACEMENT);
}

/** A character of two units that lies on the cut is left out. */
function wholeStart(text: string, units: number): string {
  const isSplit = /[\ud800-\udbff]/.test(text.charAt(units - 1));
  return text.slice(0, isSplit ? units - 1 : units);
}
