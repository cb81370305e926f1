import type { EventView } from '../admin/told-event.js';
import { formatCount } from '../config/format.js';

/** One line for a person: when, where, what, why, and the figures of the limit. */
export function formatEvent(event: EventView): string {
  const { at, scope, kind, message, limit, requestId, details } = event;
  const told = Object.entries(details)
    .filter(([name, value]) => name !== 'limit' && value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'number' ? count(value) : value}`);
  if (requestId !== null) told.push(`request=${requestId}`);
  const figures = figuresText(event);
  const about = [limit, ...told].filter((part) => part !== null).join(' ');
  return `${at}  ${scope}  ${kind.padEnd(17)} ${message}${about === '' ? '' : `; ${about}`}${figures}`;
}

function figuresText({ before, after }: EventView): string {
  const now = after ?? before;
  if (now === null) return '';
  const was = before === null || before.used === now.used ? '' : ` (${count(before.used)} before)`;
  const of = now.budget === null ? ', no budget' : ` of ${count(now.budget)} (${now.source})`;
  const reserved = now.reserved > 0 ? `, ${count(now.reserved)} in flight` : '';
  const orphaned = now.orphaned > 0 ? `, ${count(now.orphaned)} orphaned` : '';
  return `; used ${count(now.used)}${was}${of}${reserved}${orphaned}`;
}

function count(amount: number): string {
  return Number.isInteger(amount) ? formatCount(amount) : String(amount);
}
