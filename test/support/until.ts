/** Waits until `condition` holds; rejects after `deadlineMs`, with what `explain` says. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs = 5_000,
  explain: () => string = () => '',
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms. ${explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
