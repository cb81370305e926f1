/** `node --import`: this process's wall clock is off by SKEW_MS, as another machine's would be. */
const skewMs = Number(process.env['SKEW_MS'] ?? 0);
const { now } = Date;
Date.now = () => now() + skewMs;
