import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import { readTextFile, recoverFolder, writeFileAtomic, writeFolderAtomic } from '../src/files.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'my-llm-files-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const at = (...path: string[]): string => join(folder, ...path);
const contents = (dir: string): Record<string, string> =>
  Object.fromEntries(readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'utf8')]));

/** The id of a process that has ended. */
const deadPid = (): string =>
  execFileSync(process.execPath, ['-p', 'process.pid'], { encoding: 'utf8' }).trim();

describe('writeFileAtomic', () => {
  test('creates, replaces, makes folders and leaves nothing else', () => {
    writeFileAtomic(at('a', 'b', 'x.json'), 'one');
    writeFileAtomic(at('a', 'b', 'x.json'), Uint8Array.of(0x32));
    expect(contents(at('a', 'b'))).toEqual({ 'x.json': '2' });
  });

  test('a failure leaves the old state and no temporary', () => {
    mkdirSync(at('target', 'full'), { recursive: true });
    expect(() => writeFileAtomic(at('target'), 'x')).toThrow();
    expect(readdirSync(folder)).toEqual(['target']);
    expect(readdirSync(at('target'))).toEqual(['full']);
  });

  test('temporaries of killed processes are removed, those of running ones are not', () => {
    writeFileSync(at(`.x.tmp-${deadPid()}`), '');
    writeFileSync(at(`.x.tmp-${process.ppid}`), '');
    writeFileSync(at('.x.tmp-other'), '');
    writeFileAtomic(at('x'), '1');
    expect(readdirSync(folder).sort()).toEqual([`.x.tmp-${process.ppid}`, '.x.tmp-other', 'x'].sort());
  });

  test.skipIf(process.platform === 'win32')('a link stays a link', () => {
    writeFileSync(at('real'), '1');
    symlinkSync(at('real'), at('link'));
    writeFileAtomic(at('link'), '2');
    expect(contents(folder)).toEqual({ link: '2', real: '2' });
  });
});

describe('writeFolderAtomic', () => {
  test('creates and replaces; entries of other names are kept', () => {
    writeFolderAtomic(at('a', 'dir'), { x: '1', y: Uint8Array.of(0x31) });
    expect(contents(at('a', 'dir'))).toEqual({ x: '1', y: '1' });
    writeFileSync(at('a', 'dir', 'mine'), 'keep');
    writeFolderAtomic(at('a', 'dir'), { x: '2', y: '2' });
    expect(contents(at('a', 'dir'))).toEqual({ mine: 'keep', x: '2', y: '2' });
    expect(readdirSync(at('a'))).toEqual(['dir']);
  });

  test('a failure leaves the old folder and no temporary', () => {
    writeFolderAtomic(at('dir'), { x: '1' });
    expect(() => writeFolderAtomic(at('dir'), { x: '2', 'no/such': '3' })).toThrow();
    expect(readdirSync(folder)).toEqual(['dir']);
    expect(contents(at('dir'))).toEqual({ x: '1' });
  });

  test('a file in the way is told', () => {
    writeFileSync(at('dir'), '');
    expect(() => writeFolderAtomic(at('dir'), { x: '1' })).toThrow(UserError);
  });

  test('the current folder is written without moving it', () => {
    const script = `import { writeFolderAtomic } from ${JSON.stringify(new URL('../src/files.ts', import.meta.url).href)};
writeFolderAtomic('.', { x: '1' }); process.stdout.write(process.cwd().length > 0 ? 'ok' : '');`;
    mkdirSync(at('here'));
    writeFileSync(at('here', 'run.ts'), script);
    const tsx = import.meta.resolve('tsx');
    const output = execFileSync(process.execPath, ['--import', tsx, 'run.ts'], {
      cwd: at('here'),
      encoding: 'utf8',
    });
    expect(output).toBe('ok');
    expect(readdirSync(at('here')).sort()).toEqual(['run.ts', 'x']);
  });

  test('a kill at any moment leaves a usable folder', () => {
    const old = { x: 'old', mine: 'keep' };
    const fresh = { x: 'new', mine: 'keep' };
    const make = (name: string, files: Record<string, string>): void => {
      mkdirSync(at(name));
      for (const [file, content] of Object.entries(files)) writeFileSync(at(name, file), content);
    };
    // The states that the steps of a swap go through, and what a reader must find after each.
    const states: [() => void, Record<string, string>][] = [
      [() => [make('dir', old), make(`dir.tmp-${deadPid()}`, {})], old],
      [() => [make('dir', old), make('dir.new', { x: 'new' })], fresh],
      [() => [make('dir.old', old), make('dir.new', { x: 'new' })], fresh],
      [() => [make('dir.old', old), make('dir', { x: 'new' })], fresh],
      [() => [make('dir.old', { x: 'old' }), make('dir', fresh)], fresh],
      [() => make('dir.old', old), old],
      [() => make('dir.new', fresh), fresh],
      [
        () => [
          make('dir.old', { x: 'older', mine: 'keep' }),
          make('dir', { x: 'old' }),
          make('dir.new', { x: 'new' }),
        ],
        fresh,
      ],
    ];
    for (const [prepare, expected] of states) {
      prepare();
      recoverFolder(at('dir'));
      expect(contents(at('dir'))).toEqual(expected);
      recoverFolder(at('dir'));
      writeFolderAtomic(at('dir'), { x: 'last' });
      expect(contents(at('dir'))).toEqual({ ...expected, x: 'last' });
      expect(readdirSync(folder)).toEqual(['dir']);
      rmSync(at('dir'), { recursive: true });
    }
    recoverFolder(at('nothing'));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a process killed while it writes again and again', async () => {
    const script = at('write.ts');
    writeFileSync(
      script,
      `import { writeFolderAtomic } from ${JSON.stringify(new URL('../src/files.ts', import.meta.url).href)};
for (let i = 0; ; i++) { writeFolderAtomic(${JSON.stringify(at('dir'))}, { a: String(i), b: String(i) }); if (i === 0) console.log('ready'); }`,
    );
    const { spawn } = await import('node:child_process');
    for (const delay of [3, 11, 23]) {
      const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((done) => child.stdout.once('data', done));
      await new Promise((done) => setTimeout(done, delay));
      child.kill('SIGKILL');
      await new Promise((done) => child.once('exit', done));
      recoverFolder(at('dir'));
      const { a, b } = contents(at('dir'));
      expect(a).toBe(b);
      expect(a).toMatch(/^\d+$/);
    }
    writeFolderAtomic(at('dir'), { a: '-', b: '-' });
    expect(readdirSync(folder).sort()).toEqual(['dir', 'write.ts']);
  });
});

test('readTextFile: the text, or what is wrong with the file', () => {
  writeFileSync(at('bom.txt'), '\ufeff你好\r\n');
  expect(readTextFile(at('bom.txt'))).toBe('你好\r\n');
  const fails = (name: string, message: RegExp): void => {
    expect(() => readTextFile(at(name))).toThrow(UserError);
    expect(() => readTextFile(at(name))).toThrow(message);
    expect(() => readTextFile(at(name))).toThrow(at(name));
  };
  fails('missing.txt', /does not exist/);
  mkdirSync(at('folder'));
  fails('folder', /is a folder/);
  writeFileSync(at('empty.txt'), '');
  fails('empty.txt', /is empty/);
  writeFileSync(at('blank.txt'), '\ufeff \n');
  fails('blank.txt', /is empty/);
  writeFileSync(at('gbk.txt'), Uint8Array.of(0xc4, 0xe3, 0xba, 0xc3));
  fails('gbk.txt', /not UTF-8/);
  expect(existsSync(at('x'))).toBe(false);
  renameSync(at('bom.txt'), at('x'));
});
