/** @file What every command shares: options, languages, `--help`, and a frame that reports failures. */

import { Command, InvalidArgumentError, Option } from 'commander';
import { displayWidth } from '../format-text.ts';
import { type Language, languageOfLocale, setLanguage, type Text, text } from '../i18n.ts';
import { reportFailure } from './failure.ts';

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
  const isEmpty = Array.isArray(shown) && shown.length === 0;
  if (shown !== undefined && shown !== false && !isEmpty)
    notes.push(`${text({ zh: '默认', en: 'default' })}: ${shown}`);
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

/** Parser of an option that takes some of a few words, with commas; they come in the order of `known`, each once. */
export function choices<const Choice extends string>(known: readonly Choice[]): (value: string) => Choice[] {
  const one = choice(known);
  return (value) => {
    const chosen = new Set(value.split(/[,，、]/).map((word) => one(word.trim())));
    return known.filter((each) => chosen.has(each));
  };
}

/** Parser of an option that may be given several times. */
export function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
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
  const fail = (error: unknown): void => reportFailure(error, argv.includes('--debug'));
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
