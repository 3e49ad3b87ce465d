/**
 * @file Checkpoints: what a stage leaves behind, and what an interrupted stage needs to go on.
 *
 * A checkpoint is a folder that other programs can open too: `model.safetensors` (the weights; the stage in its
 * metadata), `config.json` (the `ModelConfig`) and `tokenizer.json` (Hugging Face's format). A training state is one
 * file. Both are written atomically, and nothing that is read is used before it is checked.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { type ModelConfig, parseModelConfig } from './config.ts';
import { UserError } from './errors.ts';
import { readTextFile, recoverFolder, writeFileAtomic, writeFolderAtomic } from './files.ts';
import { assertFinite, decodeSafetensors, encodeSafetensors } from './safetensors.ts';
import type { StageName } from './stages/stage.ts';
import type { NdArray, Shape } from './tensor/ndarray.ts';
import { Tokenizer } from './tokenizer.ts';

const WEIGHTS = 'model.safetensors';
const CONFIG = 'config.json';
const TOKENIZER = 'tokenizer.json';

/** The folder that holds the checkpoints of a run, where no other is named. */
export const DEFAULT_FOLDER = 'checkpoints';

/** The folder of each stage's checkpoint in it, in the order of the stages. */
export const STAGE_FOLDERS: Readonly<Record<StageName, string>> = {
  pretrain: 'pretrain_final',
  sft: 'sft_final',
  reward: 'reward_model',
  rlhf: 'rlhf_final',
  rlvf: 'rlvf_final',
};

/** What a stage leaves behind. */
export interface Checkpoint {
  readonly params: Record<string, NdArray>;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** The stage that made it: a `StageName`, or whatever else a file may say. */
  readonly stage: string;
  /** Whatever else the stage wants to remember, as JSON. */
  readonly extra: Record<string, unknown>;
}

/** JSON of a value that must come back exactly: NaN and infinities, which JSON would turn into `null`, are refused. */
function toExactJson(value: unknown): string {
  return JSON.stringify(value, (key, each) => {
    if (typeof each === 'number' && !Number.isFinite(each))
      throw new Error(`${key} is ${each}, which JSON cannot hold`);
    return each;
  });
}

/**
 * Write a checkpoint folder, all of it or nothing.
 * @throws Error where the parts do not belong together, before anything is written
 */
export function saveCheckpoint(
  dir: string,
  checkpoint: Omit<Checkpoint, 'extra'> & { readonly extra?: Record<string, unknown> },
): void {
  const { params, config, tokenizer, stage, extra = {} } = checkpoint;
  checkVocabulary(tokenizer, config, dir);
  assertFinite(params, dir);
  writeFolderAtomic(dir, {
    [WEIGHTS]: encodeSafetensors(params, { stage, extra: toExactJson(extra) }),
    [CONFIG]: `${JSON.stringify(config, undefined, 2)}\n`,
    [TOKENIZER]: tokenizer.toJson(),
  });
}

function checkVocabulary(tokenizer: Tokenizer, config: ModelConfig, dir: string): void {
  if (tokenizer.vocabSize === config.vocabSize) return;
  throw new UserError({
    zh: `${dir} 中 ${TOKENIZER} 有 ${tokenizer.vocabSize} 个词元，${CONFIG} 的 vocabSize 却是 ${config.vocabSize}；请换回同一次训练的文件`,
    en: `${TOKENIZER} in ${dir} has ${tokenizer.vocabSize} tokens, but vocabSize in ${CONFIG} is ${config.vocabSize}; put back the files of one and the same training`,
  });
}

/** @throws UserError that names the missing file and the command that makes it */
function checkPresence(dir: string): void {
  const missing = [WEIGHTS, CONFIG, TOKENIZER].find((name) => !existsSync(join(dir, name)));
  if (missing === undefined) return;
  const parent = relative('.', dirname(dir)) || '.';
  const command = parent === DEFAULT_FOLDER ? 'npm run train' : `npm run train -- --out ${parent}`;
  const stage = Object.entries(STAGE_FOLDERS).find(([, folder]) => folder === basename(dir))?.[0];
  const path = join(dir, missing);
  throw new UserError({
    zh: `缺少检查点文件 ${path}；请先运行 ${command}${stage ? `（不加 --skip-${stage}）` : ''} 来生成它，或检查路径`,
    en: `the checkpoint file ${path} is missing; run ${command}${stage ? ` (without --skip-${stage})` : ''} to make it, or check the path`,
  });
}

/** @throws UserError that names the first tensor that is missing, of another shape, or unknown */
function checkShapes(params: Record<string, NdArray>, expected: Record<string, Shape>, source: string): void {
  const remedy = {
    zh: '请换用与 config.json 和阶段相符的检查点',
    en: 'use a checkpoint that fits config.json and the stage',
  };
  const fail = (zh: string, en: string): never => {
    throw new UserError({ zh: `${source} ${zh}；${remedy.zh}`, en: `${source} ${en}; ${remedy.en}` });
  };
  for (const [name, shape] of Object.entries(expected)) {
    if (!Object.hasOwn(params, name)) fail(`缺少张量 "${name}"`, `lacks the tensor "${name}"`);
    const found = params[name];
    if (found.dtype !== 'float32') {
      fail(
        `中张量 "${name}" 是 ${found.dtype}，应为 float32`,
        `holds "${name}" as ${found.dtype}, not float32`,
      );
    }
    if (found.shape.length !== shape.length || found.shape.some((length, axis) => length !== shape[axis])) {
      fail(
        `中张量 "${name}" 的形状是 [${found.shape}]，应为 [${shape}]`,
        `holds "${name}" of shape [${found.shape}], expected [${shape}]`,
      );
    }
  }
  const unknown = Object.keys(params).find((name) => !Object.hasOwn(expected, name));
  if (unknown !== undefined) fail(`含有未知的张量 "${unknown}"`, `holds the unknown tensor "${unknown}"`);
}

/**
 * Read a checkpoint folder and check everything that can be checked.
 * @param expected names and shapes of the weights, given or as a function of the configuration; unchecked without it
 * @throws UserError that names the file (and tensor or field) and the fix
 */
export function loadCheckpoint(
  dir: string,
  expected?: Record<string, Shape> | ((config: ModelConfig) => Record<string, Shape>),
): Checkpoint {
  recoverFolder(dir);
  checkPresence(dir);
  const config = parseModelConfig(readTextFile(join(dir, CONFIG)), join(dir, CONFIG));
  const tokenizer = Tokenizer.fromJson(readTextFile(join(dir, TOKENIZER)), join(dir, TOKENIZER));
  checkVocabulary(tokenizer, config, dir);
  const source = join(dir, WEIGHTS);
  const { tensors: params, metadata } = decodeSafetensors(readBytes(source), source);
  if (expected) checkShapes(params, typeof expected === 'function' ? expected(config) : expected, source);
  assertFinite(params, source);
  const extra = parseMetadata(metadata['extra'] ?? '{}', source) as Record<string, unknown>;
  return { params, config, tokenizer, stage: metadata['stage'] ?? '', extra };
}

function readBytes(path: string): Uint8Array {
  if (statSync(path, { throwIfNoEntry: false })?.isFile()) return readFileSync(path);
  throw new UserError({
    zh: `${path} 不存在或不是文件；请检查路径，或重新训练生成它`,
    en: `${path} does not exist or is not a file; check the path, or train again to make it`,
  });
}

function parseMetadata(json: string | undefined, source: string): unknown {
  try {
    return JSON.parse(json ?? '');
  } catch {
    throw new UserError({
      zh: `${source} 的元数据不是合法的 JSON；请重新生成或重新复制这个文件`,
      en: `the metadata of ${source} are not valid JSON; create the file or copy it again`,
    });
  }
}

/** What an interrupted stage needs to go on as if nothing had happened. */
export interface TrainingState {
  /** Weights, optimiser moments and other arrays. */
  readonly tensors: Record<string, NdArray>;
  /** Step, data position, random state, ...: anything that JSON holds exactly. */
  readonly state: unknown;
}

/** Write a training state as one safetensors file with `state` in its metadata, atomically. */
export function saveTrainingState(file: string, { tensors, state }: TrainingState): void {
  writeFileAtomic(file, encodeSafetensors(tensors, { state: toExactJson(state) }));
}

/** @throws UserError where the file is missing or damaged, or holds NaN */
export function loadTrainingState(file: string): TrainingState {
  const { tensors, metadata } = decodeSafetensors(readBytes(file), file);
  assertFinite(tensors, file);
  return { tensors, state: parseMetadata(metadata['state'], file) };
}
