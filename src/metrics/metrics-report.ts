import { Inject, Injectable } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import type { ScopeView } from '../governor/scope-view.js';
import { SYSTEM_TIMERS, withDeadline } from '../platform/timers.js';
import { readVersion } from '../platform/version.js';
import { JobRecord } from '../schedule/job-record.js';
import { Exposition } from './exposition.js';

/** A state that can't be read by then is reported as such: a scrape gives up after 10 s. */
const READ_MS = 2_000;

/** Answers scrapes. Reads the views that /status reads, and writes nothing. */
@Injectable()
export class MetricsReport {
  readonly #version = readVersion();
  readonly #exposition = new Exposition();
  #running: Promise<string> | null = null;

  constructor(
    @Inject(DATA_PLANE) private readonly plane: DataPlane,
    @Inject(JobRecord) private readonly job: JobRecord,
  ) {}

  /** Scrapes that come while one is under way share it. */
  scrape(): Promise<string> {
    this.#running ??= this.#scrape().finally(() => (this.#running = null));
    return this.#running;
  }

  async #scrape(): Promise<string> {
    const { plane, job } = this;
    const looks = plane.governor.scopes.map((scope) => this.#look(scope));
    const views = (await Promise.all(looks)).filter((view) => view !== null);
    const jobSucceededAt = job.succeededAt;
    return this.#exposition.print({ plane, version: this.#version, views, jobSucceededAt });
  }

  /** Null if the state can't be read: everything else is worth telling all the same. */
  async #look(scope: string): Promise<ScopeView | null> {
    const view = this.plane.governor.view(scope).catch(() => null);
    return withDeadline(SYSTEM_TIMERS, READ_MS, view, null);
  }
}
