/** Of the bar itself. */
const COLUMNS = 30;

/** One line that is written over and over, for a person who waits; `write` goes to a terminal. */
export function progressBar(write: (text: string) => void, windows: number) {
  let shown = -1;
  let longest = 0;
  return {
    /** Writes only what looks different. */
    show: (seen: number) => {
      const filled = Math.floor((Math.min(seen, windows) / windows) * COLUMNS);
      if (filled === shown) return;
      shown = filled;
      const line = `[${'='.repeat(filled).padEnd(COLUMNS)}] ${seen} of ${windows} windows`;
      longest = Math.max(longest, line.length);
      write(`\r${line}`);
    },
    /** Leaves nothing of it behind. */
    clear: () => write(`\r${' '.repeat(longest)}\r`),
  };
}
