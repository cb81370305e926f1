/**
 * Texts that name an instant, to epoch milliseconds. Nothing here reads a clock: the one form that
 * leaves the century open is resolved against `now`.
 */

const DAY_MS = 86_400_000;
const MEAN_YEAR_MS = 365.2425 * DAY_MS;
/** Epoch seconds above this are milliseconds: as seconds they would lie beyond the year 5100. */
const MAX_EPOCH_SECONDS = 1e11;

const MONTHS = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ');

const TIME = String.raw`(?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d)`;
const RFC_3339 = new RegExp(
  String.raw`^(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)[Tt ]${TIME}` +
    String.raw`(?<fraction>\.\d{1,12})?(?<zone>[Zz]|[+-]\d\d:\d\d)$`,
);
const IMF_FIXDATE = new RegExp(
  String.raw`^[a-z]{3}, (?<day>\d\d) (?<month>[a-z]{3}) (?<year>\d{4}) ${TIME} GMT$`,
  'i',
);
const RFC_850 = new RegExp(
  String.raw`^[a-z]{6,9}, (?<day>\d\d)-(?<month>[a-z]{3})-(?<year>\d\d) ${TIME} GMT$`,
  'i',
);
const ASCTIME = new RegExp(
  String.raw`^[a-z]{3} (?<month>[a-z]{3}) (?<day>[ \d]\d) ${TIME} (?<year>\d{4})$`,
  'i',
);

type Groups = Readonly<Record<string, string | undefined>>;

/** RFC 3339, with any offset; a fraction is cut to the millisecond. Null for anything else. */
export function parseRfc3339(text: string): number | null {
  const groups = RFC_3339.exec(text)?.groups;
  if (groups === undefined) return null;
  const local = toEpochMs(groups, number(groups, 'year'), number(groups, 'month'));
  const offset = offsetMs(groups['zone'] ?? '');
  if (local === null || offset === null) return null;
  return local + Math.floor(Number(groups['fraction'] ?? 0) * 1000) - offset;
}

/**
 * An HTTP-date in any of the three forms a recipient must take (RFC 9110 §5.6.7). The name of the
 * day is not held against the date. Null for anything else.
 */
export function parseHttpDate(text: string, now: number): number | null {
  const groups = (IMF_FIXDATE.exec(text) ?? ASCTIME.exec(text))?.groups;
  if (groups !== undefined) return toEpochMs(groups, number(groups, 'year'), monthOf(groups));
  const short = RFC_850.exec(text)?.groups;
  if (short === undefined) return null;
  // Two digits name the year of this century unless that is more than 50 years ahead.
  const thisYear = 1970 + Math.floor(now / MEAN_YEAR_MS);
  const year = Math.floor(thisYear / 100) * 100 + number(short, 'year');
  return toEpochMs(short, year > thisYear + 50 ? year - 100 : year, monthOf(short));
}

/**
 * A reset as providers state it: epoch seconds, epoch milliseconds or RFC 3339. Null for anything
 * else.
 */
export function parseInstant(text: string): number | null {
  if (!/^\d{1,15}(?:\.\d{1,9})?$/.test(text)) return parseRfc3339(text);
  const epoch = Number(text);
  return Math.floor(epoch < MAX_EPOCH_SECONDS ? epoch * 1000 : epoch);
}

function number(groups: Groups, name: string): number {
  return Number(groups[name]);
}

/** From 1; 0 if there is no such month. */
function monthOf(groups: Groups): number {
  return MONTHS.indexOf((groups['month'] ?? '').toLowerCase()) + 1;
}

function toEpochMs(groups: Groups, year: number, month: number): number | null {
  const day = number(groups, 'day');
  const hour = number(groups, 'hour');
  const minute = number(groups, 'minute');
  // 60 is a leap second, which falls together with the second after it.
  const second = number(groups, 'second');
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return null;
  if (hour > 23 || minute > 59 || second > 60) return null;
  return epochDay(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000;
}

function offsetMs(zone: string): number | null {
  if (zone.length === 1) return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4));
  if (hours > 23 || minutes > 59) return null;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** Days since 1970-01-01, counted in years that begin in March so that the leap day comes last. */
function epochDay(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const dayOfMarchYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const leapDays =
    Math.floor(marchYear / 4) - Math.floor(marchYear / 100) + Math.floor(marchYear / 400);
  // 719,468 days lie between 0000-03-01 and 1970-01-01.
  return marchYear * 365 + leapDays + dayOfMarchYear - 719_468;
}
