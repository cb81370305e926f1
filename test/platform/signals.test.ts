import { EventEmitter } from 'node:events';
import { beforeEach, expect, it } from 'vitest';
import { onStopSignal, type SignalSource } from '../../src/platform/signals.js';

let signals: EventEmitter;
let now: number;
let stops: string[];
let ends: number;

beforeEach(() => {
  signals = new EventEmitter();
  now = 5_000;
  stops = [];
  ends = 0;
  const endAtOnce = () => void (ends += 1);
  const source = { process: signals, monotonic: () => now, endAtOnce } as unknown as SignalSource;
  onStopSignal((signal) => stops.push(signal), source);
});

it.each(['SIGTERM', 'SIGINT', 'SIGHUP'])('%s asks for a stop, once', (signal) => {
  signals.emit(signal);
  expect(stops).toEqual([signal]);
  expect(ends).toBe(0);
});

it('the same Ctrl-C by way of npm, and by the terminal, is one request', () => {
  signals.emit('SIGINT');
  signals.emit('SIGINT');
  now += 999;
  signals.emit('SIGINT');
  expect({ stops, ends }).toEqual({ stops: ['SIGINT'], ends: 0 });
});

it('a later one, of whatever kind, ends the process at once', () => {
  signals.emit('SIGTERM');
  now += 1_000;
  signals.emit('SIGINT');
  expect({ stops, ends }).toEqual({ stops: ['SIGTERM'], ends: 1 });
});
