/** @file `npm run serve -- --lora NAME=PATH`: which adapters are served, and under which names. */

import { dirname } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { loadLora } from '../adapter.ts';
import { UserError } from '../errors.ts';
import { text } from '../i18n.ts';
import type { ServedAdapter } from '../server/models.ts';
import type { BaseModel } from '../stages/lora.ts';
import { adapterFolder, resolveAdapter } from './adapters.ts';

/** As an option gives it. */
export interface NamedPath {
  readonly name: string;
  readonly path: string;
}

/** The name of an adapter that nobody has named: that of its folder, `lora/final`. */
const FOUND = 'final';

/** Parser of an option `NAME=PATH` that may be given several times; `previous` is false after `--no-lora`. */
export function collectNamedPaths(
  value: string,
  previous: readonly NamedPath[] | false | undefined,
): readonly NamedPath[] {
  const others = previous || [];
  const [, name, path] = /^([^=\s]+)=(.+)$/s.exec(value) ?? [];
  if (name === undefined) {
    throw new InvalidArgumentError(
      text({
        zh: '请写成 名字=文件夹，名字里没有空格，例如 poems=checkpoints/lora/poems',
        en: 'write NAME=FOLDER, without spaces in the name, such as poems=checkpoints/lora/poems',
      }),
    );
  }
  if (others.some((other) => other.name === name)) {
    throw new InvalidArgumentError(
      text({
        zh: `名字 ${name} 用了两次；请给每个适配器不同的名字`,
        en: `the name ${name} is given twice; give each adapter a name of its own`,
      }),
    );
  }
  return [...others, { name, path }];
}

/**
 * The adapters to serve beside a base: those asked for, or, where nothing was said of adapters, `lora/final` if it belongs
 * to the base, which is then named on stderr.
 *
 * @param options.lora what `--lora` collected; false: none are wanted (`--no-lora`)
 * @param options.folder the folder of the base
 * @param options.id the name under which the base is served
 * @throws UserError if an adapter does not exist, is damaged or of another base, or has the name of the base
 */
export function servedAdapters(options: {
  readonly lora: readonly NamedPath[] | false | undefined;
  readonly folder: string;
  readonly base: BaseModel;
  readonly id: string;
}): ServedAdapter[] {
  const { lora, folder, base, id } = options;
  if (lora === false) return [];
  if (lora === undefined) {
    const found = resolveAdapter({ lora, folder, checkpoint: base });
    return found ? [named(FOUND, found.lora, id)] : [];
  }
  return lora.map(({ name, path }) => {
    const adapter = loadLora(adapterFolder(path, dirname(folder)), base, folder);
    return named(name, adapter, id);
  });
}

function named(id: string, lora: ServedAdapter['lora'], baseId: string): ServedAdapter {
  if (id !== baseId) return { id, lora };
  throw new UserError({
    zh: `适配器不能叫 ${id}，基座自己就用这个名字；请用 --lora 名字=文件夹 另起一个`,
    en: `the adapter cannot be called ${id}, which is the name of the base; choose another with --lora NAME=FOLDER`,
  });
}
