/** @file Finding the adapter that goes with a checkpoint, and the checkpoint that goes with an adapter. */

import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fingerprintOf, isAdapter, loadLora, readAdapter } from '../adapter.ts';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { type Text, text } from '../i18n.ts';
import type { BaseModel, Lora } from '../stages/lora.ts';

const WEIGHTS = 'model.safetensors';

/** An adapter and the folder that it is from. */
export interface NamedAdapter {
  readonly name: string;
  readonly lora: Lora;
}

/** The folder of adapters in a folder of checkpoints. */
export function adaptersFolder(parent: string): string {
  return join(parent, 'lora');
}

/** Names of the adapters in a folder of checkpoints, by the alphabet. */
export function listAdapters(parent: string): string[] {
  const folder = adaptersFolder(parent);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(folder)
    .filter((name) => isAdapter(join(folder, name)))
    .sort();
}

/** What an adapter is called among those in a folder of checkpoints: its name there, or its path where it lies elsewhere. */
export function shortName(dir: string, parent: string): string {
  return resolve(dirname(dir)) === resolve(adaptersFolder(parent)) ? basename(dir) : dir;
}

/** Whether an adapter is whole, and belongs to a model. */
export function fits(dir: string, model: BaseModel): boolean {
  try {
    loadLora(dir, model, '');
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

/** The folder that a person means: a path, the weights file in it, or the name of one in the folder of checkpoints. */
export function adapterFolder(given: string, parent: string): string {
  if (statSync(given, { throwIfNoEntry: false })?.isFile()) return dirname(given);
  const beside = join(adaptersFolder(parent), given);
  return !isAdapter(given) && isAdapter(beside) ? beside : given;
}

/**
 * The adapter to use beside a checkpoint: the one asked for, or, where none was asked for, one named `final` that belongs
 * to this checkpoint, which is then named on stderr.
 *
 * @param options.lora path or name (`--lora`); false: none is wanted (`--no-lora`)
 * @param options.folder the folder of the checkpoint
 * @throws UserError if the adapter asked for does not exist, is damaged, or belongs to another checkpoint
 */
export function resolveAdapter(options: {
  readonly lora: string | false | undefined;
  readonly folder: string;
  readonly checkpoint: BaseModel;
}): NamedAdapter | undefined {
  const { lora, folder, checkpoint } = options;
  if (lora === false) return undefined;
  if (lora !== undefined) {
    const name = adapterFolder(lora, dirname(folder));
    return { name, lora: loadLora(name, checkpoint, folder) };
  }
  return findAdapter(folder, checkpoint);
}

function findAdapter(folder: string, checkpoint: BaseModel): NamedAdapter | undefined {
  const name = join(adaptersFolder(dirname(folder)), 'final');
  if (!isAdapter(name)) return undefined;
  try {
    const stored = readAdapter(name);
    if (stored.base !== fingerprintOf(checkpoint.params)) return undefined;
    const lora = loadLora(stored, checkpoint, folder);
    say({
      zh: `使用适配器 ${name}（--no-lora 不使用它）`,
      en: `Using the adapter ${name} (--no-lora leaves it out)`,
    });
    return { name, lora };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    say({
      zh: `没有使用适配器：${error.message}（--no-lora 不再提示）`,
      en: `No adapter is used: ${error.message} (--no-lora: say no more)`,
    });
    return undefined;
  }
}

function say(message: Text): void {
  process.stderr.write(`${text(message)}\n`);
}

/**
 * The folder of the checkpoint that an adapter was trained beside, for when no other is asked for; undefined where it is
 * not known, or not there any more.
 *
 * @throws UserError if there is no such adapter
 */
export function baseOfAdapter(lora: string | false | undefined, parent = DEFAULT_FOLDER): string | undefined {
  if (typeof lora !== 'string') return undefined;
  const { dir, baseName } = readAdapter(adapterFolder(lora, parent));
  if (baseName === '') return undefined;
  // The folder may have been moved together with its adapters.
  const moved = join(dirname(dirname(dir)), basename(baseName));
  return [baseName, moved].find((each) => existsSync(join(each, WEIGHTS)));
}
