/** @file Verifiers of the user's own: modules that register them when they are imported. */

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { VERIFIERS } from '../verifiers.ts';

/**
 * Import the modules, and give their source; undefined if there are none.
 *
 * @throws UserError, with the name of the file, if one is missing, fails, or registers nothing or a type that exists
 */
export async function loadVerifiers(files: readonly string[]): Promise<string[] | undefined> {
  const sources: string[] = [];
  for (const file of files) {
    const source = readTextFile(file);
    const known = VERIFIERS.size;
    try {
      await import(pathToFileURL(resolve(file)).href);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new UserError({
        zh: `无法使用 --verifiers 的模块 ${file}：${message}`,
        en: `The module ${file} of --verifiers cannot be used: ${message}`,
      });
    }
    if (VERIFIERS.size === known) {
      throw new UserError({
        zh: `--verifiers 的模块 ${file} 没有登记验证器：请在其中调用 registerVerifier(...)，并且每个模块只写一次。`,
        en: `The module ${file} of --verifiers registers nothing: call registerVerifier(...) in it, and name each module once.`,
      });
    }
    sources.push(source);
  }
  return sources.length > 0 ? sources : undefined;
}
