/**
 * @file Placeholders in the user's data: `{{name}}` becomes what `--fill name=...` says. Collections of questions about
 * who the assistant is leave its name open that way.
 */

import type { Command } from 'commander';
import { UserError } from '../errors.ts';
import { text } from '../i18n.ts';
import { collect } from './options.ts';

/** Those that a model would learn to say as they stand, if nobody noticed. */
const MUST_BE_FILLED = ['name', 'author'];

/** Add `--fill` to a command that reads data. */
export function addFillOption(command: Command): Command {
  return command.option(
    '--fill <name=text...>',
    text({
      zh: '填上自己数据中的占位符：--fill name=小明 把 {{name}} 换成“小明”',
      en: 'fill in placeholders of your own data: --fill name=Ann puts Ann in the place of {{name}}',
    }),
    collect,
    [],
  );
}

/** The values of `--fill`, by the name of the placeholder. @throws UserError for one that is not `name=text` */
export function parseFills(given: readonly string[]): Map<string, string> {
  return new Map(
    given.map((argument) => {
      const match = /^(\w+)=(.+)$/s.exec(argument);
      if (match) return [match[1], match[2]];
      throw new UserError({
        zh: `--fill ${argument} 不是“名字=文字”；请写成 --fill name=小明 这样`,
        en: `--fill ${argument} is not name=text; write it like --fill name=Ann`,
      });
    }),
  );
}

/**
 * A file's text with its placeholders filled in. In JSON the value is escaped as the inside of a string.
 * @param source the file's name, for messages
 * @throws UserError where `{{name}}` or `{{author}}` has no value
 */
export function fillPlaceholders(
  content: string,
  source: string,
  fills: ReadonlyMap<string, string>,
): string {
  const isJson = /^(?:[["]|\{(?!\{))/.test(content.replace(/^\ufeff/, '').trimStart());
  return content.replace(/\{\{(\w+)\}\}/g, (placeholder, name: string) => {
    const value = fills.get(name);
    if (value !== undefined) return isJson ? JSON.stringify(value).slice(1, -1) : value;
    if (!MUST_BE_FILLED.includes(name)) return placeholder;
    throw new UserError({
      zh: `${source} 中有占位符 ${placeholder}；请用 --fill ${name}=... 填上（要原样保留，写 --fill ${name}=${placeholder}）`,
      en: `${source} has the placeholder ${placeholder}; fill it in with --fill ${name}=... (to keep it as it is: --fill ${name}=${placeholder})`,
    });
  });
}

/** @throws UserError for a value that no file has a place for, which is a slip of the pen */
export function checkFillsUsed(fills: ReadonlyMap<string, string>, contents: readonly string[]): void {
  for (const name of fills.keys()) {
    if (contents.some((content) => content.includes(`{{${name}}}`))) continue;
    throw new UserError({
      zh: `--fill ${name}=... 不起作用：--data 的文件中没有 {{${name}}}；请改正名字或去掉它`,
      en: `--fill ${name}=... has no effect: no file of --data holds {{${name}}}; correct the name or remove it`,
    });
  }
}
