import { CommanderError } from 'commander';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createCommand, integer, parseCommand, runCommand } from '../src/cli/options.ts';
import { UserError } from '../src/errors.ts';
import { setLanguage } from '../src/i18n.ts';

const said = vi.hoisted(() => [] as string[]);
vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  writeSync: (descriptor: number, message: string) => said.push(`${descriptor}: ${message}`),
}));

const EVENTS = ['uncaughtException', 'unhandledRejection'];
let exits: unknown[];
let listeners: [NodeJS.EventEmitter, string, unknown[]][];

beforeEach(() => {
  exits = [];
  said.length = 0;
  listeners = [
    ...EVENTS.map((event): [NodeJS.EventEmitter, string, unknown[]] => [
      process,
      event,
      (process as NodeJS.EventEmitter).listeners(event),
    ]),
    [process.stdout, 'error', process.stdout.listeners('error')],
  ];
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    exits.push(code);
    return undefined as never;
  });
});

afterEach(() => {
  for (const [emitter, event, before] of listeners) {
    for (const each of emitter.listeners(event)) {
      if (!before.includes(each)) emitter.removeListener(event, each as () => void);
    }
  }
  vi.restoreAllMocks();
  process.exitCode = undefined;
  setLanguage('en');
});

/** Run a command and wait until it has ended the process, or has ended by itself. */
async function run(main: () => Promise<void>, argv: string[] = ['--lang', 'en']): Promise<string> {
  await runCommand(main, argv);
  await new Promise((done) => process.stdout.write('', done));
  return said.join('');
}

test('a command that succeeds says nothing', async () => {
  expect(await run(async () => {})).toBe('');
  expect(exits).toEqual([]);
});

test('a mistake of the user is one line on stderr, in the chosen language, and exit code 1', async () => {
  const main = async () => {
    throw new UserError({ zh: '文件坏了', en: 'the file is broken' });
  };
  expect(await run(main)).toBe('2: Error: the file is broken\n');
  said.length = 0;
  // The error takes its language when it is made, after the command has chosen it.
  expect(await run(main, ['--lang=zh'])).toBe('2: 错误：文件坏了\n');
  expect(exits).toEqual([1, 1]);
});

test('options, help and the system', async () => {
  const argv = ['--lang', 'en', '--n', 'x'];
  const parse = async () => {
    await parseCommand(
      createCommand('sample', { zh: '示例', en: 'sample' }).option('--n <n>', 'n', integer()),
      argv,
    );
  };
  expect(await run(parse, argv)).toBe('2: Error: --n "x" is not valid: give a whole number\n');
  expect(exits).toEqual([1]);
  said.length = 0;
  const help = async () => {
    throw new CommanderError(0, 'commander.helpDisplayed', '(outputHelp)');
  };
  expect(await run(help)).toBe('');
  expect(exits).toEqual([1]);
});

test('--debug adds the stack, and those of the causes', async () => {
  const main = async () => {
    throw new Error('outer', { cause: new TypeError('inner') });
  };
  expect(await run(main)).toBe(
    '2: Error: internal error (Error: outer); run again with --debug to see the details\n',
  );
  expect(await run(main, ['--debug', '--lang=en'])).toMatch(
    /2: Error: outer\n\s+at [\s\S]*2: TypeError: inner\n\s+at /,
  );
});

test('a closed pipe ends quietly, another failure of stdout does not', async () => {
  await run(async () => {
    process.stdout.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  });
  expect(exits[0]).toBe(0);
  await run(async () => {
    process.stdout.emit('error', Object.assign(new Error('x'), { code: 'ENOSPC' }));
  });
  expect(said.join('')).toContain('the disk is full');
});
