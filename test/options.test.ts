import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CommanderError, Option } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { describeError } from '../src/cli/failure.ts';
import {
  choice,
  createCommand,
  createSubcommand,
  detectLanguage,
  integer,
  normaliseArguments,
  number,
  parseCommand,
} from '../src/cli/options.ts';
import { UserError } from '../src/errors.ts';
import { setLanguage } from '../src/i18n.ts';

afterEach(() => setLanguage('en'));

function sample() {
  return createCommand('sample', { zh: '示例', en: 'an example' })
    .option('--batch-size <n>', 'sequences per step', integer({ min: 1, max: 64 }), 16)
    .option('--lr <x>', 'learning rate', number({ above: 0 }))
    .option('--preset <name>', 'size', choice(['nano', 'mini']))
    .option('-p, --prompt <text>', 'text')
    .option('--skip-sft', 'skip');
}

async function failure(...argv: string[]): Promise<string> {
  const error = await parseCommand(sample(), argv).then(
    () => new Error('did not fail'),
    (reason: unknown) => reason,
  );
  return describeError(error);
}

describe('option names', () => {
  test('long options accept _ and -, values are not touched', async () => {
    const options = await parseCommand(sample(), [
      '--batch_size=4',
      '--skip_sft',
      '--prompt',
      '--a_b=c_d',
      '--lr',
      '1e-3',
    ]);
    expect(options).toMatchObject({ batchSize: 4, skipSft: true, prompt: '--a_b=c_d', lr: 1e-3 });
    expect(await parseCommand(sample(), ['--prompt=a_b --c_d', '--batch_size', '8'])).toMatchObject({
      prompt: 'a_b --c_d',
      batchSize: 8,
    });
    expect(await parseCommand(sample(), ['-p', '--x_y'])).toMatchObject({ prompt: '--x_y' });
    expect(await parseCommand(sample(), [])).toMatchObject({ batchSize: 16 });
  });

  test('what follows -- and the options of subcommands are understood', () => {
    const parent = createCommand('tokenizer', { zh: '分词器', en: 'tokenizer' });
    createSubcommand(parent, 'train', { zh: '训练', en: 'train' }).option('--vocab-size <n>', 'size');
    expect(normaliseArguments(parent, ['train', '--vocab_size', '--x_y', '--', '--a_b'])).toEqual([
      'train',
      '--vocab-size',
      '--x_y',
      '--',
      '--a_b',
    ]);
  });

  test('--lang and --debug work after a subcommand too', async () => {
    const parent = createCommand('tokenizer', { zh: '分词器', en: 'tokenizer' });
    let seen: unknown;
    createSubcommand(parent, 'train', { zh: '训练', en: 'train' })
      .option('--vocab-size <n>', 'size', integer())
      .action((options) => {
        seen = options;
      });
    await parseCommand(parent, ['train', '--vocab_size', '300', '--debug', '--lang', 'zh']);
    expect(seen).toEqual({ vocabSize: 300 });
    expect(parent.opts()).toEqual({ debug: true, lang: 'zh' });
  });
});

describe('messages', () => {
  test('errors name the option and the fix, in both languages', async () => {
    expect(await failure('--batch_size', '0')).toBe(
      '--batch-size "0" is not valid: give a whole number from 1 to 64',
    );
    expect(await failure('--batch-size', '2.5')).toContain('whole number');
    expect(await failure('--batch-size', '')).toContain('--batch-size ""');
    expect(await failure('--lr=0')).toBe('--lr "0" is not valid: give a number above 0');
    expect(await failure('--lr=Infinity')).toContain('--lr');
    expect(await failure('--lr=0x10')).toContain('--lr');
    expect(await failure('--preset', 'huge')).toBe('--preset "huge" is not valid: choose one of nano, mini');
    expect(await failure('--batch-sise', '3')).toBe(
      'unknown option --batch-sise; did you mean --batch-size?',
    );
    expect(await failure('--zzz')).toBe('unknown option --zzz; see --help for all options');
    expect(await failure('--prompt')).toBe('--prompt needs a value: -p, --prompt <text>');
    expect(await failure('stray')).toContain('belong to no option');
    setLanguage('zh');
    expect(await failure('--batch_size', '100')).toBe(
      '选项 --batch-size 的值 "100" 无效：请给出一个 1 到 64 之间的整数',
    );
    expect(await failure('--lr=-1')).toBe('选项 --lr 的值 "-1" 无效：请给出一个大于 0 的数');
    expect(await failure('--zzz')).toBe('未知选项 --zzz，用 --help 查看全部选项');
    expect(await failure('--lang', 'fr')).toBe('选项 --lang 的值 "fr" 无效：请从这些值中选择：zh, en');
  });

  test('help is in the chosen language', () => {
    expect(sample().helpInformation()).toMatch(
      /^Usage: sample \[options\]\n[\s\S]*Options:\n[\s\S]*\(default: 16\)/,
    );
    setLanguage('zh');
    const help = sample().helpInformation();
    expect(help).toMatch(/^用法: sample \[选项\]\n[\s\S]*选项:\n[\s\S]*（默认: 16）/);
    expect(help).not.toMatch(/Usage|Options|default|display/);
  });

  test('errors of the system and of the program become one line', () => {
    const system = (code: string, path?: string) =>
      Object.assign(new Error(`${code}: raw\ntext`), { code, path });
    expect(describeError(system('ENOSPC', '/a/b'))).toMatch(/^the disk is full, \/a\/b could not be written/);
    expect(describeError(system('EACCES', '/a/b'))).toContain('no permission to use /a/b');
    expect(describeError(system('EISDIR', '/a'))).toContain('/a is a folder');
    expect(describeError(system('ENOENT', '/a'))).toContain('/a does not exist');
    expect(describeError(new Error('outer', { cause: system('ENOSPC') }))).toContain('the disk is full');
    expect(describeError(new UserError({ zh: '一', en: 'one\n  line' }))).toBe('one line');
    expect(describeError(new TypeError('x\ny'))).toBe(
      'internal error (TypeError: x y); run again with --debug to see the details',
    );
    expect(describeError('text')).toContain('internal error (text)');
    expect(describeError(new CommanderError(0, 'commander.helpDisplayed', '(outputHelp)'))).toBe('');
  });

  test('every other mistake of the command line has its sentence', async () => {
    const parent = createCommand('tokenizer', { zh: '分词器', en: 'tokenizer' });
    createSubcommand(parent, 'train', { zh: '训练', en: 'train' })
      .argument('<size>', 'size', integer({ min: 1, max: 9 }))
      .requiredOption('--input <file>', 'file')
      .addOption(new Option('--greedy', 'g').conflicts('seed'))
      .option('--seed <n>', 's')
      .exitOverride();
    const cases: [string[], RegExp, RegExp][] = [
      [['trian'], /^unknown command trian; did you mean train\?$/, /^未知命令 trian，是想写 train 吗/],
      [['zzzzzz'], /^unknown command zzzzzz; see --help/, /^未知命令 zzzzzz，用 --help/],
      [
        ['train', '3'],
        /^a required option is missing; add --input <file>$/,
        /^缺少必需的选项，请加上 --input <file>$/,
      ],
      [['train', '--input', 'x'], /^the argument <size> is missing/, /^缺少必需的参数 <size>/],
      [
        ['train', '99', '--input', 'x'],
        /^the argument <size> "99" is not valid: .* from 1 to 9$/,
        /^参数 <size> 的值 "99" 无效：/,
      ],
      [['train', '3', '4', '--input', 'x'], /belong to no option/, /不属于任何选项/],
      [
        ['train', '3', '--input', 'x', '--greedy', '--seed', '1'],
        /^--greedy contradicts --seed; remove/,
        /^选项 --greedy 与 --seed 互相矛盾/,
      ],
      [['train', '--input'], /^--input needs a value/, /^选项 --input 后面缺少值/],
    ];
    for (const [argv, english, chinese] of cases) {
      const error = await parseCommand(parent, argv).catch((reason: unknown) => reason);
      setLanguage('en');
      expect(describeError(error)).toMatch(english);
      setLanguage('zh');
      expect(describeError(error)).toMatch(chinese);
      setLanguage('en');
    }
  });

  test('each refusal of the system has a sentence in both languages', () => {
    for (const code of [
      'ENOSPC',
      'EDQUOT',
      'EACCES',
      'EPERM',
      'EROFS',
      'EISDIR',
      'ENOTDIR',
      'EEXIST',
      'ENOENT',
    ]) {
      for (const language of ['zh', 'en'] as const) {
        setLanguage(language);
        const named = describeError(Object.assign(new Error(code), { code, path: '/a', dest: '/b' }));
        const nameless = describeError(Object.assign(new Error(code), { code }));
        expect(named).toContain('/b');
        for (const line of [named, nameless]) expect(line).toMatch(language === 'zh' ? /；/ : /; /);
        expect(nameless).not.toMatch(/undefined|internal|内部/);
      }
    }
    setLanguage('zh');
    expect(describeError(new Error('x'))).toBe('内部错误（Error: x）；加上 --debug 重新运行可以看到细节');
  });

  test('the language: --lang, then the locale, then English', () => {
    expect(detectLanguage(['--lang', 'zh'], { LANG: 'en_US.UTF-8' })).toBe('zh');
    expect(detectLanguage(['--lang=en'], { LANG: 'zh_CN.UTF-8' })).toBe('en');
    expect(detectLanguage(['--', '--lang=en'], { LANG: 'zh_CN.UTF-8' })).toBe('zh');
    expect(detectLanguage([], { LC_ALL: '', LC_MESSAGES: 'zh_TW', LANG: 'en_US' })).toBe('zh');
    expect(detectLanguage([], { LC_ALL: 'C.UTF-8', LANG: 'zh_CN' })).toBe('en');
    expect(detectLanguage([], { LANG: 'fr_FR.UTF-8' })).toBe('en');
  });
});

describe('runCommand', () => {
  let folder: string;
  let script: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'my-llm-options-'));
    script = join(folder, 'command.ts');
    const source = pathToFileURL(resolve('src')).href;
    writeFileSync(
      script,
      `import { createCommand, integer, parseCommand, runCommand } from '${source}/cli/options.ts';
import { UserError } from '${source}/errors.ts';
runCommand(async () => {
  const command = createCommand('sample', { zh: '示例', en: 'an example' }).option('--n <n>', 'number', integer()).option('--fail <how>', 'how');
  const options = await parseCommand<{ n?: number; fail?: string }>(command);
  if (options.fail === 'user') throw new UserError({ zh: '文件坏了', en: 'the file is broken' });
  if (options.fail === 'later') { setTimeout(() => { throw new Error('later'); }, 1); setInterval(() => {}, 1000); return; }
  if (options.fail === 'defect') throw new TypeError('defect');
  for (let i = 0; i < (options.n ?? 1); i++) console.log('line', i);
});
`,
    );
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const run = (...argv: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', script, ...argv], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    return { status, stdout, stderr };
  };

  test('one line on stderr, exit code 1, no stack unless --debug', () => {
    expect(run()).toEqual({ status: 0, stdout: 'line 0\n', stderr: '' });
    expect(run('--fail', 'user')).toEqual({ status: 1, stdout: '', stderr: 'Error: the file is broken\n' });
    expect(run('--fail', 'later')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('internal error'),
    });
    expect(run('--fail', 'defect', '--debug').stderr).toMatch(
      /^Error: internal error.*\nTypeError: defect\n\s+at /,
    );
    const help = run('--help', '--lang=zh');
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toContain('用法: sample');
  });

  test.skipIf(process.platform === 'win32')('a closed pipe ends it quietly', () => {
    const command = `"${process.execPath}" --import tsx "${script}" --n 200000 | head -n 1`;
    const { stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
    expect({ stdout, stderr }).toEqual({ stdout: 'line 0\n', stderr: '' });
  });
});
