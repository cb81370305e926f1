import { readFileSync } from 'node:fs';
import type { Status } from '../../src/admin/status.js';
import {
  INSTALLED,
  INSTALLED_NODE,
  reasonWithoutMachine,
  SystemdMachine,
} from '../support/systemd-machine.js';
import { until } from '../support/until.js';

export const UNIT = 'tidegate.service';
export const SHIPPED = new URL('../../ops/systemd/', import.meta.url);
/** Between two looks: each starts a program, on a machine that is busy enough. */
const PAUSE_MS = 40;
/** On an idle machine nothing takes a tenth of it. */
export const PATIENCE_MS = 60_000;
const INSIDE = `${INSTALLED}/test/support/inside`;
export const MISBEHAVE = `Environment=NODE_OPTIONS=--import=${INSIDE}/misbehave.mjs`;
/** The unit is as it is shipped; only its waits are made bearable for a test. */
const IMPATIENT = '[Service]\nRestartSec=100ms\n';

export const SKIPPED = reasonWithoutMachine();
if (SKIPPED !== null) console.warn(`left out: the unit under a real systemd; ${SKIPPED}`);

export interface Answer {
  /** Undefined if there was none. */
  readonly status?: number;
  readonly body: string;
  /** Whether all of it came. */
  readonly whole: boolean;
}

/** The shipped unit on a machine of its own, as the guide installs it. */
export class Installed {
  private constructor(readonly machine: SystemdMachine) {}

  static async boot(): Promise<Installed> {
    const shipped = (name: string) => readFileSync(new URL(name, SHIPPED), 'utf8');
    const machine = await SystemdMachine.boot({
      [UNIT]: shipped(UNIT),
      'tidegate-alert@.service': shipped('tidegate-alert@.service'),
      'tidegate.service.d/alert.conf': shipped('alert.conf'),
      'tidegate.service.d/impatient.conf': IMPATIENT,
      'upstream.service': `[Service]\nExecStart=${INSTALLED_NODE} ${INSIDE}/upstream.mjs\n`,
    });
    await machine.write('/etc/tidegate/tidegate.env', 'TIDEGATE_UPSTREAM=http://127.0.0.1:9000\n');
    await machine.must('systemctl', 'start', 'upstream');
    return new Installed(machine);
  }

  /** Forgets everything of the test before, the start limit and the state included. */
  async reset(): Promise<void> {
    await this.machine.run('systemctl', 'stop', UNIT);
    await this.machine.must('systemctl', 'reset-failed');
    await this.machine.must('rm', '-rf', '/var/lib/private/tidegate', '/var/lib/tidegate');
    await this.dropIn('');
    await this.machine.turnPage();
  }

  /** Replaces the drop-in of the test. */
  async dropIn(text: string): Promise<void> {
    await this.machine.write(`/etc/systemd/system/${UNIT}.d/test.conf`, text);
    await this.machine.must('systemctl', 'daemon-reload');
  }

  start(): Promise<string> {
    return this.machine.must('systemctl', 'start', UNIT);
  }

  stop(): Promise<string> {
    return this.machine.must('systemctl', 'stop', UNIT);
  }

  property(name: string): Promise<string> {
    return this.machine.property(UNIT, name);
  }

  journal(): Promise<string> {
    return this.machine.journal(`--unit=${UNIT}`);
  }

  async signal(signal: string): Promise<void> {
    await this.machine.must('kill', `-${signal}`, await this.property('MainPID'));
  }

  /** Waits until systemd says so. */
  async reaches(name: string, value: string, deadlineMs = PATIENCE_MS): Promise<void> {
    let last = '';
    await until(
      async () => {
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        last = await this.property(name);
        return last === value;
      },
      deadlineMs,
      () => `${name} is ${last}, not ${value}`,
    );
  }

  /** One request from inside, over a connection of its own. */
  async request(
    url: string,
    { method = 'GET', headers = {}, body = '' }: Partial<RequestOptions> = {},
  ): Promise<Answer> {
    const { hostname, port, host, pathname } = new URL(url);
    const fields = { host, connection: 'close', 'content-length': body.length, ...headers };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    const request = `${method} ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
    const script = 'exec 3<> "/dev/tcp/$1/$2" && printf %s "$3" >&3 && cat <&3';
    const ran = await this.machine.run('bash', '-c', script, 'bash', hostname, port, request);
    return readAnswer(ran.out);
  }

  /** One Messages request; the upstream charges 500 tokens for it. */
  call(headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.request('http://127.0.0.1:8787/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'claude-test', max_tokens: 10, messages: [] }),
    });
  }

  /** The control plane opens a moment after the data port, by which the unit is started. */
  async status(): Promise<Status> {
    let answer = NO_ANSWER;
    await until(async () => {
      answer = await this.request('http://127.0.0.1:8788/status');
      return answer.status === 200;
    }, PATIENCE_MS);
    return JSON.parse(answer.body) as Status;
  }

  async limit(): Promise<Status['scopes'][number]['limits'][number]> {
    return (await this.status()).scopes[0]!.limits[0]!;
  }

  /** The charge, once nothing is in flight any more. */
  async settledUse(): Promise<number> {
    await until(async () => (await this.limit()).reserved === 0, PATIENCE_MS);
    return (await this.limit()).used;
  }
}

const NO_ANSWER: Answer = { body: '', whole: false };

function readAnswer(text: string): Answer {
  const [, status, head = '', body = ''] =
    /^HTTP\/1\.1 (\d{3})([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(text) ?? [];
  if (status === undefined) return NO_ANSWER;
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  // `run` has trimmed the end of it.
  const whole = length === undefined ? body.endsWith('\r\n0') : body.length === Number(length);
  return { status: Number(status), body, whole };
}

interface RequestOptions {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}
