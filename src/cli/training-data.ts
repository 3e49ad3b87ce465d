/** @file The texts and records that a training run reads: those that come with MyLLM, or the user's own. */

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SourceText } from '../data/datasets.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { checkFillsUsed, fillPlaceholders, parseFills } from './placeholders.ts';

/** The stages that have data of their own. */
export const DATA_STAGES = ['pretrain', 'sft', 'reward', 'rlvf'] as const;
export type DataStage = (typeof DATA_STAGES)[number];

const BUNDLED: Readonly<Record<DataStage, string>> = {
  pretrain: 'pretrain_data.txt',
  sft: 'sft_data.json',
  reward: 'reward_data.json',
  rlvf: 'rlvf_data.json',
};

/** The user's files, with the arguments of `--fill` in the place of their placeholders. */
export function loadOwn(paths: readonly string[], fill: readonly string[]): SourceText[] {
  const fills = parseFills(fill);
  const contents = paths.map((path) => readTextFile(path));
  checkFillsUsed(fills, contents);
  return paths.map((name, index) => ({
    name,
    text: fillPlaceholders(contents[index], name, fills),
    own: true,
  }));
}

/**
 * The bundled data, with the user's files in the place of the stages they are for.
 * @param files arguments of `--data`: `stage=file`, or a file alone
 * @param fill arguments of `--fill`, for the placeholders in them
 */
export function loadData(
  files: readonly string[],
  fill: readonly string[] = [],
): Record<DataStage, SourceText> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'data');
  const own = new Map<DataStage, SourceText>();
  const given = files.map((argument) => /^(?:(pretrain|sft|reward|rlvf)=)?(.*)$/s.exec(argument)!);
  const paths = given.map(([, , path]) => path);
  for (const [index, source] of loadOwn(paths, fill).entries()) {
    const path = source.name;
    const stage = (given[index][1] as DataStage | undefined) ?? stageOfContent(source.text);
    if (own.has(stage)) {
      throw new UserError({
        zh: `--data 给了阶段 ${stage} 两个文件（${own.get(stage)!.name} 和 ${path}）；请只留一个，或用 阶段=文件 指明。`,
        en: `--data gives stage ${stage} two files (${own.get(stage)!.name} and ${path}); keep one, or say stage=file.`,
      });
    }
    own.set(stage, source);
  }
  const load = (stage: DataStage): SourceText =>
    own.get(stage) ?? {
      name: `data/${BUNDLED[stage]}`,
      text: readTextFile(join(folder, BUNDLED[stage])),
      own: false,
    };
  return { pretrain: load('pretrain'), sft: load('sft'), reward: load('reward'), rlvf: load('rlvf') };
}

/** For which stage a file is, told by the fields of its first record; anything that is not JSON is text to read. */
export function stageOfContent(content: string): DataStage {
  const head = content.trimStart().slice(0, 20_000);
  if (!/^[[{]/.test(head)) return 'pretrain';
  const has = (field: string): boolean => new RegExp(`"${field}"\\s*:`).test(head);
  if (has('rejected')) return 'reward';
  if (has('expected')) return 'rlvf';
  if (['messages', 'conversations', 'instruction', 'response', 'prompt'].some(has)) return 'sft';
  return 'pretrain';
}
