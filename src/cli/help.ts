import { CONFIG_FILE, SETTINGS, type Setting } from '../config/settings.js';
import { didYouMean } from '../config/suggest.js';
import { readArguments, UsageError } from './arguments.js';
import { COMMANDS, findCommand, type Command, type Run } from './commands.js';
import { EXIT, EXIT_CODES } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  const [topic] = readArguments(args, {}, 1).words;
  terminal.out(helpOn(topic));
  return EXIT.ok;
};

function helpOn(topic: string | undefined): string {
  if (topic === undefined) return formatOverview();
  if (topic === 'settings') return formatSettings();
  const command = findCommand(topic);
  if (command !== undefined) return formatCommand(command);
  const topics = [...COMMANDS.map(({ name }) => name), 'settings'];
  throw new UsageError(`There is no help on ${JSON.stringify(topic)}.${didYouMean(topic, topics)}`);
}

export function formatOverview(): string {
  const commands = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(14)}${summary}\n`);
  const codes = EXIT_CODES.map(({ code, meaning }) => `  ${String(code).padEnd(4)}${meaning}\n`);
  return (
    'Tidegate is a reverse proxy between AI agents and an LLM API. It knows how much of the\n' +
    "upstream's rate limits is left, and still knows it after a crash.\n\n" +
    'Usage: tidegate COMMAND\n\n' +
    `Commands:\n${commands.join('')}\n` +
    `Exit codes:\n${codes.join('')}`
  );
}

export function formatCommand({ name, synopsis, summary, details }: Command): string {
  const usage = `Usage: tidegate ${name} ${synopsis}`.trimEnd();
  return `${usage}\n\n${summary}.\n\n${details.join('\n')}\n`;
}

const WIDTH = 88;

function formatSettings(): string {
  const settings = [CONFIG_FILE, ...Object.values(SETTINGS)].map(formatSetting);
  return (
    'Environment variables; each can stand in the file of TIDEGATE_CONFIG too, by the name in brackets.\n\n' +
    settings.join('\n')
  );
}

function formatSetting(setting: Setting): string {
  const key = Object.entries(SETTINGS).find(([, candidate]) => candidate === setting)?.[0];
  const { absent } = setting;
  const fallback = 'text' in absent ? absent.text : 'means' in absent ? absent.means : '';
  const title = `${setting.env}${key === undefined ? '' : ` [${key}]`}`;
  const body = wrap(
    `${setting.meaning} Default: ${fallback}. Allowed: ${setting.parser.allowed}.`.replaceAll(
      '`',
      '',
    ),
  );
  return `${title}\n${body.map((line) => `    ${line}\n`).join('')}`;
}

function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
