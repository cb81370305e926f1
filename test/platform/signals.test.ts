import { EventEmitter } from 'node:events';
import { beforeEach, expect, it } from 'vitest';
import { onStopSignal, type SignalSource } from '../../src/platform/signals.js';

let signals: EventEmitter;
let now: number;
let stops: string[];
let exits: number[];

beforeEach(() => {
  signals = new EventEmitter();
  now = 5_000;
  stops = [];
  exits = [];
  const process = Object.assign(signals, { exit: (code: number) => exits.push(code) });
  const source = { process, monotonic: () => now } as unknown as SignalSource;
  onStopSignal((signal) => stops.push(signal), source);
});

it.each(['SIGTERM', 'SIGINT', 'SIGHUP'])('%s asks for a stop, once', (signal) => {
  signals.emit(signal);
  expect(stops).toEqual([signal]);
  expect(exits).toEqual([]);
});

it('the same Ctrl-C by way of npm, and by the terminal, is one request', () => {
  signals.emit('SIGINT');
  signals.emit('SIGINT');
  now += 999;
  signals.emit('SIGINT');
  expect({ stops, exits }).toEqual({ stops: ['SIGINT'], exits: [] });
});

it('a later one, of whatever kind, ends the process at once', () => {
  signals.emit('SIGTERM');
  now += 1_000;
  signals.emit('SIGINT');
  expect({ stops, exits }).toEqual({ stops: ['SIGTERM'], exits: [1] });
});
