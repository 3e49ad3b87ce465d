/**
 * @file Files that survive a `kill -9`: whatever the moment, a reader finds the old content or the new one, whole.
 *
 * A file is written beside its target and renamed over it, which POSIX and Windows do in one step. A folder cannot be
 * replaced in one step, so its swap leaves tracks (`dir.new`, `dir.old`) from which anyone can finish it.
 * Everything is synchronous: it is rare, and nothing else may happen in between.
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { UserError } from './errors.ts';

/** Where a path really is, so that a link to another disk stays a link. */
function resolveLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // Missing; or the end of a link that is missing in the middle of a swap.
    try {
      return resolve(dirname(path), readlinkSync(path));
    } catch {
      return resolve(path);
    }
  }
}

/** Rename, patiently on Windows, where a virus scanner or an indexer may hold the file for a moment. */
function rename(from: string, to: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      renameSync(from, to);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const held = process.platform === 'win32' && /^(EPERM|EACCES|EBUSY)$/.test(code ?? '');
      if (!held || attempt === 10) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20 * attempt);
    }
  }
}

/** Make a rename in `dir` durable. Not every system can open a folder for this. */
function syncFolder(dir: string): void {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(dir, 'r');
    fsyncSync(descriptor);
  } catch {
    // Windows and some network disks: the rename is still atomic, only not yet on the platter.
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function writeSynced(path: string, content: Uint8Array | string): void {
  const descriptor = openSync(path, 'w');
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } catch (error) {
    // Errors of an open file do not say which file it was.
    if (error instanceof Error) Object.assign(error, { path });
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Whether there is a process with this id. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Remove what killed processes left: entries `<prefix><pid>` of processes that are gone (or are this one). */
function removeStale(folder: string, prefix: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length));
    if (!Number.isInteger(pid) || (pid !== process.pid && isRunning(pid))) continue;
    rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/**
 * Replace or create a file in one step; its folder is created where it is missing.
 * @throws the error of the file system (`ENOSPC`, `EACCES`, ...) with the old content intact and no temporary left
 */
export function writeFileAtomic(path: string, content: Uint8Array | string): void {
  const target = resolveLinks(path);
  const folder = dirname(target);
  const prefix = `.${basename(target)}.tmp-`;
  mkdirSync(folder, { recursive: true });
  removeStale(folder, prefix);
  const temporary = join(folder, `${prefix}${process.pid}`);
  try {
    writeSynced(temporary, content);
    rename(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw nameTarget(error, path);
  }
  syncFolder(folder);
}

/** Messages should name the file that a person knows, not the temporary one. */
function nameTarget(error: unknown, path: string): unknown {
  if (error instanceof Error && 'path' in error) Object.assign(error, { path, dest: undefined });
  return error;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Carry entries that the new folder does not have over from the old one, then remove the old one. */
function removeOld(dir: string, old: string): void {
  for (const name of readdirSync(old)) {
    if (!existsSync(join(dir, name))) rename(join(old, name), join(dir, name));
  }
  rmSync(old, { recursive: true, force: true });
}

/** Run a step of a swap that another process may have done already. */
function unlessDone(step: () => void): void {
  try {
    step();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/**
 * Finish the swap of a folder that was interrupted, if there was one. Call it before reading a folder that
 * `writeFolderAtomic` writes. `dir.new` is always complete, and `dir.old` goes only when `dir` is there.
 */
export function recoverFolder(dir: string): void {
  const target = resolveLinks(dir);
  const [fresh, old] = [`${target}.new`, `${target}.old`];
  if (isFolder(fresh)) {
    if (isFolder(target)) {
      if (isFolder(old)) removeOld(target, old);
      unlessDone(() => rename(target, old));
    }
    unlessDone(() => rename(fresh, target));
  }
  if (!isFolder(old)) return;
  if (isFolder(target)) removeOld(target, old);
  else unlessDone(() => rename(old, target));
  syncFolder(dirname(target));
}

/**
 * Write a folder of files so that they appear together. `dir.tmp-<pid>` is filled, renamed to `dir.new` when complete,
 * and swapped with `dir`; a kill at any moment leaves the old or the new folder for `recoverFolder`.
 * Other entries of an existing folder are kept.
 * @param files contents by file name, without subfolders
 * @throws the error of the file system, with the old folder intact and no temporary left
 */
export function writeFolderAtomic(dir: string, files: Record<string, Uint8Array | string>): void {
  recoverFolder(dir);
  const target = resolveLinks(dir);
  if (existsSync(target) && !isFolder(target)) {
    throw new UserError({
      zh: `${dir} 是一个文件，不是文件夹；请移走它或换一个路径`,
      en: `${dir} is a file, not a folder; move it or choose another path`,
    });
  }
  // The current folder, or one around it, cannot be renamed under the feet of the process.
  if (`${process.cwd()}${sep}`.startsWith(target.endsWith(sep) ? target : `${target}${sep}`)) {
    for (const [name, content] of Object.entries(files)) writeFileAtomic(join(target, name), content);
    return;
  }
  const folder = dirname(target);
  const prefix = `${basename(target)}.tmp-`;
  mkdirSync(folder, { recursive: true });
  removeStale(folder, prefix);
  const temporary = join(folder, `${prefix}${process.pid}`);
  try {
    mkdirSync(temporary);
    for (const [name, content] of Object.entries(files)) writeSynced(join(temporary, name), content);
    syncFolder(temporary);
    rename(temporary, `${target}.new`);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw nameTarget(error, dir);
  }
  syncFolder(folder);
  recoverFolder(dir);
  syncFolder(folder);
}

/** Longest file that is read as one string; V8 allows little more. */
const MAX_TEXT_BYTES = 500_000_000;

/**
 * The text of a UTF-8 file, without a byte order mark.
 * @throws UserError where the file is missing, a folder, empty, too large or not UTF-8
 */
export function readTextFile(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) {
    throw new UserError({
      zh: `找不到文件 ${path}；请检查路径是否正确`,
      en: `the file ${path} does not exist; check the path`,
    });
  }
  if (stats.isDirectory()) {
    throw new UserError({
      zh: `${path} 是一个文件夹；请给出其中的一个文件`,
      en: `${path} is a folder; give a file in it`,
    });
  }
  if (stats.size > MAX_TEXT_BYTES) {
    throw new UserError({
      zh: `${path} 太大（${(stats.size / 1e6).toFixed(0)} MB）；请分成不超过 ${MAX_TEXT_BYTES / 1e6} MB 的文件`,
      en: `${path} is too large (${(stats.size / 1e6).toFixed(0)} MB); split it into files of at most ${MAX_TEXT_BYTES / 1e6} MB`,
    });
  }
  let content: string;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw error;
    throw new UserError({
      zh: `${path} 不是 UTF-8 文本；请另存为 UTF-8（例如 iconv -f GBK -t UTF-8）`,
      en: `${path} is not UTF-8 text; save it as UTF-8 (for example with iconv -f GBK -t UTF-8)`,
    });
  }
  if (content.trim() === '') {
    throw new UserError({
      zh: `文件 ${path} 是空的；请给出有内容的文件`,
      en: `the file ${path} is empty; give a file with content`,
    });
  }
  return content;
}
