/**
 * @file One run at a time in a folder: two would overwrite each other's checkpoints.
 *
 * While a run lasts, an empty file `lock-<process id>` says so. A process makes its own file first and then looks for
 * those of others: of two that start at once, at most one goes on. Files of processes that are gone (`kill -9`, a power
 * cut) are removed.
 */

import { mkdirSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { isRunning } from './files.ts';

const LOCK = /^lock-(\d+)$/;

/** The locks of this process. One of the same number that is not among them was left by an earlier process. */
const held = new Map<string, Date>();

/** Who holds a folder. */
export interface Holder {
  /** Process id. */
  readonly pid: number;
  readonly since: Date;
  readonly file: string;
}

/**
 * Lock a folder, which is created where it is missing, until the function that is returned is called or the process
 * ends.
 *
 * @param refusal makes the error to throw where the folder is held already
 */
export function lockFolder(folder: string, refusal: (holder: Holder) => Error): () => void {
  mkdirSync(folder, { recursive: true });
  const own = join(realpathSync.native(folder), `lock-${process.pid}`);
  const since = held.get(own);
  if (since) throw refusal({ pid: process.pid, since, file: own });
  writeFileSync(own, '');
  held.set(own, new Date());
  const release = (): void => {
    process.off('exit', release);
    held.delete(own);
    rmSync(own, { force: true });
  };
  process.on('exit', release);
  try {
    const other = findHolder(folder);
    if (other) throw refusal(other);
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

/** The lock of another process that is running; those that nobody holds any more are removed. */
function findHolder(folder: string): Holder | undefined {
  const bootedAt = Date.now() - 1000 * uptime();
  for (const name of readdirSync(folder)) {
    const pid = Number(LOCK.exec(name)?.[1]);
    if (Number.isNaN(pid) || pid === process.pid) continue;
    const file = join(folder, name);
    const since = statSync(file, { throwIfNoEntry: false })?.mtime;
    if (!since) continue;
    // Since a restart of the machine, another program may have the number.
    if (isRunning(pid) && since.getTime() >= bootedAt) return { pid, since, file };
    rmSync(file, { force: true });
  }
  return undefined;
}
