import type { DataPlane, Phase } from '../data-plane.js';
import { byOwner, inSeconds, membersOf, type Metric, single, stateSet } from './metric.js';

const MODES = membersOf<DataPlane['config']['mode']>({ enforce: true, observe: true });

const PHASES = membersOf<Phase>({ starting: true, serving: true, draining: true, stopped: true });

/** How this instance and its store stand. */
export const INSTANCE_METRICS: readonly Metric[] = [
  {
    name: 'tidegate_build_info',
    type: 'gauge',
    labels: ['version'],
    help: 'Always 1; the version of Tidegate',
    origin: 'instance',
    read: ({ version }) => [{ labels: { version }, value: 1 }],
  },
  {
    name: 'tidegate_instance_info',
    type: 'gauge',
    labels: ['name', 'store'],
    help: 'Always 1; the name that the state knows this instance by, and its kind of store',
    origin: 'instance',
    read: ({ plane: { config, repository } }) => [
      { labels: { name: config.instance, store: repository.kind }, value: 1 },
    ],
  },
  {
    name: 'tidegate_mode',
    type: 'gauge',
    labels: ['mode'],
    help: '1 for the mode that it runs in: observe refuses nothing',
    origin: 'instance',
    read: ({ plane: { config } }) => stateSet('mode', MODES, config.mode),
  },
  {
    name: 'tidegate_phase',
    type: 'gauge',
    labels: ['phase'],
    help: '1 for the phase of life that this instance is in, 0 for the others',
    origin: 'instance',
    read: ({ plane }) => stateSet('phase', PHASES, plane.phase),
  },
  {
    name: 'tidegate_recent_starts',
    type: 'gauge',
    labels: [],
    help: 'Starts of this instance in the last two hours',
    origin: 'instance',
    read: ({ views }) => single(Math.max(0, ...views.map(({ starts }) => starts.recent))),
  },
  {
    name: 'tidegate_unclean_starts',
    type: 'gauge',
    labels: [],
    help: 'Those of them after a run that did not stop cleanly',
    origin: 'instance',
    read: ({ views }) => single(Math.max(0, ...views.map(({ starts }) => starts.unclean))),
  },
  {
    name: 'tidegate_crash_loop',
    type: 'gauge',
    labels: [],
    help: '1 after 5 unclean starts within 5 minutes or 15 within two hours: no budget is raised',
    origin: 'instance',
    read: ({ views }) => single(views.some(({ starts }) => starts.crashLoop) ? 1 : 0),
  },
  {
    name: 'tidegate_job_last_success_timestamp_seconds',
    type: 'gauge',
    labels: [],
    help: 'When the scheduled job last succeeded, in Unix time; 0 before the first time',
    origin: 'instance',
    read: ({ jobSucceededAt }) => single(inSeconds(jobSucceededAt ?? 0)),
  },
  {
    name: 'tidegate_state_readable',
    type: 'gauge',
    labels: ['scope'],
    help: '1 if the state of the scope could be read just now; else its other series are missing',
    origin: 'instance',
    read: ({ plane, views }) =>
      plane.governor.scopes.map((scope) => ({
        labels: { scope },
        value: views.some((view) => view.scope === scope) ? 1 : 0,
      })),
  },
  {
    name: 'tidegate_store_healthy',
    type: 'gauge',
    labels: [],
    help: '1 if the state can be written; else nothing is forwarded',
    origin: 'instance',
    read: ({ plane }) => single(plane.repository.health().healthy ? 1 : 0),
  },
  {
    name: 'tidegate_store_writes_total',
    type: 'counter',
    labels: [],
    help: 'Writes of the store since it was made, as this instance knows it; each may hold many updates',
    origin: 'instance',
    read: ({ plane }) => single(plane.repository.health().revision),
  },
  {
    name: 'tidegate_store_update_seconds',
    type: 'histogram',
    labels: [],
    help: 'From handing an update to the store until it is durable, with the wait for the write before it',
    origin: 'process',
    read: ({ plane }) => single(plane.governor.updateTally.durableMs.read()),
  },
  {
    name: 'tidegate_store_failures_total',
    type: 'counter',
    labels: ['scope', 'code'],
    help: 'Updates that failed: unavailable was not written, unknown may have been; each attempt counts',
    origin: 'process',
    read: ({ plane }) =>
      byOwner(plane.governor.updateTally.failures, (scope, code) => ({ scope, code })),
  },
];
