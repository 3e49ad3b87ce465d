/** @file How a failure is told to a person: one line that says what is wrong and what to do, never a stack trace. */

import { writeSync } from 'node:fs';
import { CommanderError } from 'commander';
import { UserError } from '../errors.ts';
import { type Text, text } from '../i18n.ts';

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
    // Of an option (flags, value) or of a positional argument (value, name).
    pattern:
      /^(?:option '([\s\S]*?)' argument '([\s\S]*)' is invalid|command-argument value '([\s\S]*)' is invalid for argument '(.*?)')\. ([\s\S]*)$/,
    message: (flags, optionValue, argumentValue, name, fix) => {
      const value = optionValue ?? argumentValue;
      const zh = flags === undefined ? `参数 <${name}>` : `选项 ${longName(flags)}`;
      const en = flags === undefined ? `the argument <${name}>` : longName(flags);
      return { zh: `${zh} 的值 "${value}" 无效：${fix}`, en: `${en} "${value}" is not valid: ${fix}` };
    },
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

/**
 * Tell a failure in one line on stderr (with the stack where `debug`), and end the process with exit code 1. Where
 * commander ends a command that did not fail (`--help`), nothing happens.
 */
export function reportFailure(error: unknown, debug: boolean): void {
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
  if (debug && error instanceof Error) {
    for (const each of causes(error)) say(`${each instanceof Error ? each.stack : String(each)}\n`);
  }
  process.exitCode = 1;
  // What was written to a pipe has to leave first; `process.exit` alone would cut it.
  process.stdout.write('', () => process.exit(1));
}
