/** Shows downloads on a terminal as one line that is rewritten; elsewhere as a line a finished file. */
import type { FileProgress } from './hub-download.js';

const BAR_CHARACTERS = 24;
const REDRAW_MS = 100;

export interface ProgressOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export function progressBar(output: ProgressOutput): (progress: FileProgress) => void {
  let drawnAt = 0;
  return (progress) => {
    const finished = progress.receivedBytes === progress.totalBytes;
    if (!output.isTTY) {
      if (finished) output.write(`${progress.path} ${fileSize(progress.totalBytes)}\n`);
      return;
    }
    if (!finished && performance.now() - drawnAt < REDRAW_MS) return;
    drawnAt = performance.now();
    output.write(`\r\x1b[K${line(progress)}${finished ? '\n' : ''}`);
  };
}

function line({ path, receivedBytes, totalBytes }: FileProgress): string {
  const share = totalBytes === 0 ? 1 : receivedBytes / totalBytes;
  const filled = Math.round(share * BAR_CHARACTERS);
  const bar = '#'.repeat(filled).padEnd(BAR_CHARACTERS, '.');
  return `[${bar}] ${String(Math.floor(share * 100)).padStart(3)}% of ${fileSize(totalBytes)}  ${path}`;
}

export const fileSize = (bytes: number): string =>
  bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
