import { rfc3339 } from './clock.js';

/** Values of a log line: never a prompt, a body or a credential. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export type LogLevel = 'info' | 'warn' | 'error';

/** One line an event. */
export interface Log {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  /** `text` for people at a terminal, `json` for whatever collects logs. */
  readonly format: 'text' | 'json';
  readonly write: (line: string) => void;
  readonly now: () => number;
}

export function openLog(options: LogOptions): Log {
  const line = options.format === 'json' ? jsonLine : textLine;
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) =>
      options.write(line(rfc3339(options.now()), level, message, fields));
  return { info: at('info'), warn: at('warn'), error: at('error') };
}

export const SILENT_LOG: Log = {
  info: () => {},
  warn: () => {},
  error: () => {},
};

function jsonLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  return `${JSON.stringify({ time, level, message, ...fields })}\n`;
}

function textLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? quoted(value) : value}`);
  return `${time} ${level.toUpperCase().padEnd(5)} ${message}${pairs.join('')}\n`;
}

/** Quotes what would not be one word, and so keeps one event on one line. */
function quoted(value: string): string {
  return /^[\w:./+-]+$/.test(value) ? value : JSON.stringify(value);
}
