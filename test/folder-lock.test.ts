import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockFolder } from '../src/folder-lock.ts';

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'my-llm-lock-'));
  folder = join(root, 'a', 'b');
});
afterEach(() => rmSync(root, { recursive: true }));

const lock = (): (() => void) => lockFolder(folder, ({ pid, file }) => new Error(`held by ${pid}: ${file}`));

const HOLD = `
  import { lockFolder } from ${JSON.stringify(new URL('../src/folder-lock.ts', import.meta.url).href)};
  lockFolder(process.argv[1], ({ pid }) => new Error('held by ' + pid));
  console.log('locked');
`;
/** A process that locks the folder and then does something else. */
const holding = (then: string): string[] => [
  ...['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', HOLD + then, folder],
];

describe('a folder', () => {
  test('is held by one at a time', () => {
    const release = lock();
    expect(readdirSync(folder)).toEqual([`lock-${process.pid}`]);
    expect(lock).toThrow(`held by ${process.pid}`);
    release();
    release();
    expect(readdirSync(folder)).toEqual([]);
    lock()();
  });

  test.skipIf(process.platform === 'win32')('is the same under another name', () => {
    const release = lock();
    symlinkSync(folder, join(root, 'link'));
    expect(() => lockFolder(join(root, 'link'), () => new Error('held'))).toThrow('held');
    release();
  });

  test('is not taken from another process that is running', () => {
    lock()();
    writeFileSync(join(folder, `lock-${process.ppid}`), '');
    expect(lock).toThrow(`held by ${process.ppid}: ${join(folder, `lock-${process.ppid}`)}`);
    expect(readdirSync(folder)).toEqual([`lock-${process.ppid}`]);
    const longAgo = new Date(2001, 1, 1);
    utimesSync(join(folder, `lock-${process.ppid}`), longAgo, longAgo);
    lock()();
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each(['', 'process.exit(3)', 'throw new Error()'])(
    'is free after a process that ends by "%s"',
    (then) => {
      const { stdout } = spawnSync(process.execPath, holding(then), { encoding: 'utf8' });
      expect(stdout).toBe('locked\n');
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test('is free after a process that was killed', async () => {
    const child = spawn(process.execPath, holding('setInterval(() => {}, 1000)'));
    await new Promise((done) => child.stdout.once('data', done));
    const left = join(folder, `lock-${child.pid}`);
    expect(lock).toThrow(`held by ${child.pid}`);
    child.kill('SIGKILL');
    await new Promise((done) => child.once('exit', done));
    expect(existsSync(left)).toBe(true);
    lock()();
    expect(existsSync(left)).toBe(false);
  });
});
