/** @file What every command shares: options, languages, `--help`, and how a failure is told to a person. */

import { writeSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { UserError } from '../errors.ts';
import { type Language, languageOfLocale, setLanguage, type Text, text } from '../i18n.ts';
import { displayWidth } from './progress.ts';

/** Options that every command has. */
export interface CommonOptions {
  lang?: Language;
  debug?: boolean;
}

/**
 * The language of messages: `--lang`, else the locale of the environment (`LC_ALL`, `LC_MESSAGES`, `LANG`, the first
 * that is set, as POSIX orders them), else the system's. English where none of them is Chinese.
 */
export function detectLanguage(
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Language {
  const end = argv.indexOf('--');
  const own = end < 0 ? argv : argv.slice(0, end);
  for (const [index, argument] of own.entries()) {
    const value = argument === '--lang' ? own[index + 1] : /^--lang=(.*)$/.exec(argument)?.[1];
    if (value === 'zh' || value === 'en') return value;
  }
  const locale = environment['LC_ALL'] || environment['LC_MESSAGES'] || environment['LANG'];
  return languageOfLocale(locale || Intl.DateTimeFormat().resolvedOptions().locale);
}

/**
 * `argv` with `_` in the names of long options written as `-`: `--batch_size=4` becomes `--batch-size=4`.
 * Values are left as they are, also a value that looks like an option (`--prompt --a_b`), which is why the
 * command's own options are needed here.
 */
export function normaliseArguments(command: Command, argv: readonly string[]): string[] {
  const normalised: string[] = [];
  let current = command;
  let options = command.options;
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index];
    if (argument === '--') return [...normalised, ...argv.slice(index)];
    const subcommand = current.commands.find((each) => each.name() === argument);
    if (subcommand) {
      current = subcommand;
      options = [...options, ...subcommand.options];
    }
    const long = /^--[^=]+/.exec(argument)?.[0];
    const name = long ? long.replace(/(?!^)_/g, '-') : argument;
    normalised.push(long ? name + argument.slice(long.length) : argument);
    const takesValue = options.some(
      (option) => option.required && (option.long === name || option.short === name),
    );
    if (takesValue && name.length >= argument.length && index + 1 < argv.length)
      normalised.push(argv[++index]);
  }
  return normalised;
}

const HEADINGS: Record<string, string> = {
  'Usage:': '用法:',
  'Arguments:': '参数:',
  'Options:': '选项:',
  'Global Options:': '通用选项:',
  'Commands:': '命令:',
};

/** Commander's notes after a description, in both languages. */
function describeOption(option: Option): string {
  const notes: string[] = [];
  if (option.argChoices && !option.flags.includes('|')) {
    notes.push(`${text({ zh: '可选', en: 'choices' })}: ${option.argChoices.join(', ')}`);
  }
  const shown = option.defaultValueDescription ?? option.defaultValue;
  if (shown !== undefined && shown !== false) notes.push(`${text({ zh: '默认', en: 'default' })}: ${shown}`);
  if (notes.length === 0) return option.description;
  return text({
    zh: `${option.description}（${notes.join('，')}）`,
    en: `${option.description} (${notes.join(', ')})`,
  });
}

/**
 * A command with `--help`, `--lang` and `--debug`, whose failures are thrown instead of printed. Call it inside
 * `runCommand`, which has chosen the language by then.
 */
export function createCommand(name: string, description: Text): Command {
  return new Command(name)
    .description(text(description))
    .helpOption('-h, --help', text({ zh: '显示这份帮助', en: 'show this help' }))
    .addOption(
      new Option('--lang <zh|en>', text({ zh: '提示信息的语言', en: 'language of messages' })).argParser(
        choice(['zh', 'en']),
      ),
    )
    .option('--debug', text({ zh: '出错时显示完整的调用栈', en: 'show the stack trace of an error' }))
    .usage(text({ zh: '[选项]', en: '[options]' }))
    .configureHelp({
      showGlobalOptions: true,
      displayWidth,
      styleTitle: (title) => text({ zh: HEADINGS[title] ?? title, en: title }),
      optionDescription: describeOption,
    })
    .configureOutput({ outputError: () => {} })
    .exitOverride();
}

/** Add a subcommand (`tokenizer train`) to a command made by `createCommand`. */
export function createSubcommand(parent: Command, name: string, description: Text): Command {
  parent.usage(text({ zh: '<命令> [选项]', en: '<command> [options]' }));
  parent.helpCommand('help [command]', text({ zh: '显示某个命令的帮助', en: 'show the help of a command' }));
  return parent
    .command(name)
    .description(text(description))
    .usage(text({ zh: '[选项]', en: '[options]' }));
}

/** Parse the command line (without `node` and the script) and run the action of the command, if it has one. */
export async function parseCommand<Options extends object>(
  command: Command,
  argv: readonly string[] = process.argv.slice(2),
): Promise<Options & CommonOptions> {
  await command.parseAsync(normaliseArguments(command, argv), { from: 'user' });
  return command.opts<Options & CommonOptions>();
}

/** Bounds of a number; `above` and `below` exclude their own value. */
export interface NumberRange {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly below?: number;
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function describeRange({ min, max, above, below }: NumberRange): Text {
  if (min !== undefined && max !== undefined)
    return { zh: ` ${min} 到 ${max} 之间的`, en: ` from ${min} to ${max}` };
  const zh: string[] = [];
  const en: string[] = [];
  const bound = (limit: number | undefined, chinese: string, english: string): void => {
    if (limit === undefined) return;
    zh.push(`${chinese} ${limit}`);
    en.push(`${english} ${limit}`);
  };
  bound(min, '不小于', 'at least');
  bound(above, '大于', 'above');
  bound(max, '不大于', 'at most');
  bound(below, '小于', 'below');
  if (zh.length === 0) return { zh: '', en: '' };
  return { zh: `${zh.join('、')} 的`, en: ` ${en.join(' and ')}` };
}

function parseNumber(value: string, range: NumberRange, whole: boolean): number {
  const parsed = NUMBER.test(value.trim()) ? Number(value) : Number.NaN;
  const inside =
    (whole ? Number.isSafeInteger(parsed) : Number.isFinite(parsed)) &&
    parsed >= (range.min ?? Number.NEGATIVE_INFINITY) &&
    parsed <= (range.max ?? Number.POSITIVE_INFINITY) &&
    parsed > (range.above ?? Number.NEGATIVE_INFINITY) &&
    parsed < (range.below ?? Number.POSITIVE_INFINITY);
  if (inside) return parsed;
  const described = describeRange(range);
  throw new InvalidArgumentError(
    text({
      zh: `请给出一个${described.zh}${whole ? '整数' : '数'}`,
      en: `give ${whole ? 'a whole number' : 'a number'}${described.en}`,
    }),
  );
}

/** Parser of a whole-number option: `.option('--seed <n>', '...', integer({ min: 0 }))`. */
export function integer(range: NumberRange = {}): (value: string) => number {
  return (value) => parseNumber(value, range, true);
}

/** Parser of a numeric option. */
export function number(range: NumberRange = {}): (value: string) => number {
  return (value) => parseNumber(value, range, false);
}

/** Parser of an option that takes one of a few words. */
export function choice<const Choice extends string>(choices: readonly Choice[]): (value: string) => Choice {
  return (value) => {
    const found = choices.find((each) => each === value);
    if (found !== undefined) return found;
    const list = choices.join(', ');
    throw new InvalidArgumentError(text({ zh: `请从这些值中选择：${list}`, en: `choose one of ${list}` }));
  };
}

/** Commander's English sentences by error code, and the same said in both languages with the fix. */
const COMMANDER_MESSAGES: Record<string, { pattern: RegExp; message: (...groups: string[]) => Text }> = {
  'commander.unknownOption': {
    pattern: /^unknown option '([\s\S]*?)'(?:\s+\(Did you mean (.*)\?\))?$/,
    message: (option, similar) => ({
      zh: `未知选项 ${option}${similar ? `，是想写 ${similar} 吗？` : '，用 --help 查看全部选项'}`,
      en: `unknown option ${option}; ${similar ? `did you mean ${similar}?` : 'see --help for all options'}`,
    }),
  },
  'commander.unknownCommand': {
    pattern: /^unknown command '([\s\S]*?)'(?:\s+\(Did you mean (.*)\?\))?$/,
    message: (command, similar) => ({
      zh: `未知命令 ${command}${similar ? `，是想写 ${similar} 吗？` : '，用 --help 查看全部命令'}`,
      en: `unknown command ${command}; ${similar ? `did you mean ${similar}?` : 'see --help for all commands'}`,
    }),
  },
  'commander.optionMissingArgument': {
    pattern: /^option '([\s\S]*)' argument missing$/,
    message: (flags) => ({
      zh: `选项 ${longName(flags)} 后面缺少值：${flags}`,
      en: `${longName(flags)} needs a value: ${flags}`,
    }),
  },
  'commander.missingMandatoryOptionValue': {
    pattern: /^required option '([\s\S]*)' not specified$/,
    message: (flags) => ({
      zh: `缺少必需的选项，请加上 ${flags}`,
      en: `a required option is missing; add ${flags}`,
    }),
  },
  'commander.missingArgument': {
    pattern: /^missing required argument '([\s\S]*)'$/,
    message: (name) => ({
      zh: `缺少必需的参数 <${name}>，用 --help 查看用法`,
      en: `the argument <${name}> is missing; see --help for the usage`,
    }),
  },
  'commander.excessArguments': {
    pattern: /^too many arguments/,
    message: () => ({
      zh: '多出了不属于任何选项的参数；带空格的值请加引号，用 --help 查看用法',
      en: 'there are arguments that belong to no option; quote values that contain spaces, and see --help for the usage',
    }),
  },
  'commander.conflictingOption': {
    pattern: /^option '(.*)' cannot be used with option '(.*)'$/,
    message: (one, other) => ({
      zh: `选项 ${longName(one)} 与 ${longName(other)} 互相矛盾，请去掉其中一个`,
      en: `${longName(one)} contradicts ${longName(other)}; remove one of them`,
    }),
  },
  'commander.invalidArgument': {
    pattern:
      /^(?:option|command-argument value) '([\s\S]*?)'(?: argument '([\s\S]*)')? is invalid(?: for argument '.*')?\. ([\s\S]*)$/,
    message: (flags, value, fix) => ({
      zh: `选项 ${longName(flags)} 的值 "${value ?? ''}" 无效：${fix}`,
      en: `${longName(flags)} "${value ?? ''}" is not valid: ${fix}`,
    }),
  },
};

/** `--batch-size` of `-b, --batch-size <n>`. */
function longName(flags: string): string {
  return /--[^\s,=]+/.exec(flags)?.[0] ?? flags;
}

function describeCommanderError(error: CommanderError): string {
  const message = error.message.replace(/^error: /, '');
  const known = COMMANDER_MESSAGES[error.code];
  const match = known?.pattern.exec(message);
  return known && match ? text(known.message(...match.slice(1))) : message;
}

/** What the operating system refused, as a sentence with the fix. `file` is empty where it is not known. */
const SYSTEM_ERRORS: Record<string, (file: string) => Text> = {
  ENOSPC: (file) => ({
    zh: `磁盘已满，无法写入 ${file || '文件'}；请腾出空间后再运行同一条命令，之前的检查点完好`,
    en: `the disk is full, ${file || 'a file'} could not be written; free some space and run the same command again, earlier checkpoints are intact`,
  }),
  EDQUOT: (file) => ({
    zh: `磁盘配额已用完，无法写入 ${file || '文件'}；请腾出空间后再运行同一条命令`,
    en: `the disk quota is used up, ${file || 'a file'} could not be written; free some space and run the same command again`,
  }),
  EACCES: (file) => ({
    zh: `没有权限访问 ${file || '文件'}；请修改它的权限或换一个路径`,
    en: `no permission to use ${file || 'a file'}; change its permissions or choose another path`,
  }),
  EPERM: (file) => ({
    zh: `系统不允许操作 ${file || '文件'}；请检查权限，或关闭正在使用它的程序`,
    en: `the system does not allow using ${file || 'a file'}; check its permissions, or close the program that holds it`,
  }),
  EROFS: (file) => ({
    zh: `${file || '目标位置'} 在只读的磁盘上；请换一个可写的路径`,
    en: `${file || 'the target'} is on a read-only disk; choose a path that can be written`,
  }),
  EISDIR: (file) => ({
    zh: `${file || '给出的路径'} 是一个文件夹；请给出一个文件`,
    en: `${file || 'the path given'} is a folder; give a file`,
  }),
  ENOTDIR: (file) => ({
    zh: `${file || '给出的路径'} 的某一级不是文件夹；请换一个路径`,
    en: `a part of ${file || 'the path given'} is not a folder; choose another path`,
  }),
  EEXIST: (file) => ({
    zh: `${file || '给出的路径'} 已存在并且挡住了要写的内容；请移走它或换一个路径`,
    en: `${file || 'the path given'} already exists and is in the way; move it or choose another path`,
  }),
  ENOENT: (file) => ({
    zh: `找不到 ${file || '文件'}；请检查路径是否正确`,
    en: `${file || 'a file'} does not exist; check the path`,
  }),
};

/** The error itself and the errors that caused it. */
function causes(error: unknown): unknown[] {
  const chain: unknown[] = [];
  for (let each = error; each !== undefined && chain.length < 10; ) {
    chain.push(each);
    each = each instanceof Error ? each.cause : undefined;
  }
  return chain;
}

/** One line for a person about any error; the line is empty where the error has been shown already (`--help`). */
export function describeError(error: unknown): string {
  const oneLine = (message: string): string => message.trim().replace(/\s*\n\s*/g, ' ');
  for (const each of causes(error)) {
    if (each instanceof UserError) return oneLine(each.message);
    if (each instanceof CommanderError) {
      return /^commander\.(help|helpDisplayed|version)$/.test(each.code)
        ? ''
        : oneLine(describeCommanderError(each));
    }
    const { code, path, dest } = (each ?? {}) as { code?: string; path?: string; dest?: string };
    const describe = code === undefined ? undefined : SYSTEM_ERRORS[code];
    // A rename fails at its destination far more often than at its source.
    if (describe) return text(describe(dest ?? path ?? ''));
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return oneLine(
    text({
      zh: `内部错误（${message}）；加上 --debug 重新运行可以看到细节`,
      en: `internal error (${message}); run again with --debug to see the details`,
    }),
  );
}

/** Exit once what has been written to a pipe has left; `process.exit` alone would cut it. */
function exitAfterFlush(code: number): void {
  process.exitCode = code;
  process.stdout.write('', () => process.exit(code));
}

/**
 * Run a command: choose the language, run `main`, and tell a failure in one line on stderr with exit code 1 (`--debug`
 * adds the stack). A reader that closes the pipe early (`| head`) ends the command quietly. Interrupts (SIGINT) are
 * left to `main`.
 */
export async function runCommand(
  main: () => Promise<void>,
  argv: readonly string[] = process.argv.slice(2),
): Promise<void> {
  setLanguage(detectLanguage(argv));
  const fail = (error: unknown): void => {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const line = describeError(error);
    // Synchronous, so that the line arrives whatever happens next.
    const say = (message: string): void => {
      try {
        writeSync(2, message);
      } catch {
        // Nobody is listening to stderr.
      }
    };
    if (line !== '') say(`${text({ zh: '错误：', en: 'Error: ' })}${line}\n`);
    if (argv.includes('--debug') && error instanceof Error) {
      for (const each of causes(error)) say(`${each instanceof Error ? each.stack : String(each)}\n`);
    }
    exitAfterFlush(1);
  };
  const onStreamError = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EPIPE') process.exit(0);
    fail(error);
  };
  process.stdout.on('error', onStreamError);
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  try {
    await main();
  } catch (error) {
    fail(error);
  }
}
