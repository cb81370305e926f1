// Asks the control plane of this container whether it lives. Liveness and not readiness, for what
// is unhealthy may get restarted, and a restart cures no upstream, no disk and no cooldown.
const { TIDEGATE_ADMIN_LISTEN: listen } = process.env;
const port = /:(\d+)$/.exec(listen ?? '')?.[1] ?? '8788';

try {
  const response = await fetch(`http://127.0.0.1:${port}/health/live`, {
    signal: AbortSignal.timeout(4_000),
  });
  process.exitCode = response.ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}
