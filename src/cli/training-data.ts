/** @file The texts and records that a training run reads: those that come with MyLLM, or the user's own. */

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SourceText } from '../data/datasets.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';

/** The stages that have data of their own. */
export const DATA_STAGES = ['pretrain', 'sft', 'reward', 'rlvf'] as const;
export type DataStage = (typeof DATA_STAGES)[number];

const BUNDLED: Readonly<Record<DataStage, string>> = {
  pretrain: 'pretrain_data.txt',
  sft: 'sft_data.json',
  reward: 'reward_data.json',
  rlvf: 'rlvf_data.json',
};

/** The bundled data, with the user's files in the place of the stages they are for. */
export function loadData(files: readonly string[]): Record<DataStage, SourceText> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'data');
  const own = new Map<DataStage, SourceText>();
  for (const argument of files) {
    const [, prefix, path] = /^(?:(pretrain|sft|reward|rlvf)=)?(.*)$/s.exec(argument)!;
    const source: SourceText = { name: path, text: readTextFile(path), own: true };
    const stage = (prefix as DataStage | undefined) ?? stageOfContent(source.text);
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
