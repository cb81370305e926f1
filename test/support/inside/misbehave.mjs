// Loaded into a service before it starts. TEST_CRASH=start ends it before anything is served;
// TEST_CRASH=serving kills it as soon as its port is open; SIGUSR2 blocks its event loop for good.
if (process.env.TEST_CRASH === 'start') process.exit(70);
if (process.env.TEST_CRASH === 'serving') {
  setInterval(() => {
    const serves = process.getActiveResourcesInfo().includes('TCPServerWrap');
    if (serves) process.kill(process.pid, 'SIGKILL');
  }, 1);
}
process.on('SIGUSR2', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
