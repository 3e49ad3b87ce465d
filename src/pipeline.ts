/**
 * @file From raw text to a chatting, reasoning model: runs the stages in order, each from the checkpoint of the one
 * before, and keeps on disk what is needed to go on after an interruption.
 *
 * A finished stage leaves `<out>/<checkpoint>/`; one in progress leaves `<out>/.progress/<stage>.safetensors`. Both
 * carry a fingerprint of everything that they depend on (settings, data, the stage before), so that work is taken up
 * again exactly where it fits and done anew where it does not.
 */

import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Message, renderPrompt } from './chat-format.ts';
import {
  type Checkpoint,
  loadCheckpoint,
  loadTrainingState,
  STAGE_FOLDERS,
  saveCheckpoint,
  saveTrainingState,
} from './checkpoint.ts';
import type { ModelConfig } from './config.ts';
import {
  conversations,
  exerciseConversations,
  exerciseDocuments,
  heldOutExercises,
  preferences,
  pretrainDocuments,
  type SourceText,
  tokenizerTexts,
  verifiableTasks,
} from './data/datasets.ts';
import { UserError } from './errors.ts';
import { lockFolder } from './folder-lock.ts';
import type { Text } from './i18n.ts';
import { openMetrics } from './metrics.ts';
import { gptParameters } from './model.ts';
import type { Recipe } from './recipes.ts';
import { pretrain } from './stages/pretrain.ts';
import { rewardParameters, trainRewardModel } from './stages/reward-model.ts';
import { trainRlhf } from './stages/rlhf.ts';
import { trainRlvf } from './stages/rlvf.ts';
import { supervisedFineTune } from './stages/sft.ts';
import {
  checkEvaluations,
  type Evaluation,
  STAGES,
  type StageContext,
  type StageIo,
  type StageName,
  type StageResult,
  type StepRecord,
} from './stages/stage.ts';
import type { Runtime, Shape } from './tensor/index.ts';
import { Tokenizer } from './tokenizer.ts';

/** The stages whose checkpoints each stage starts from. */
const PARENTS: Readonly<Record<StageName, readonly StageName[]>> = {
  pretrain: [],
  sft: ['pretrain'],
  reward: ['sft'],
  rlhf: ['sft', 'reward'],
  rlvf: ['rlhf'],
};

export interface PipelineOptions {
  readonly runtime: Runtime;
  /** The shape of the model; its vocabulary size is what the tokenizer is asked for. */
  readonly config: ModelConfig;
  readonly recipe: Recipe;
  readonly skip: ReadonlySet<StageName>;
  readonly seed: number;
  readonly out: string;
  /** The texts of the stages that have data of their own. */
  readonly data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>;
  /** Train even what is finished. */
  readonly restart: boolean;
  /** Seconds between saves of the state in progress. */
  readonly saveInterval: number;
}

/** What the caller shows. */
export interface PipelineUi {
  stageStarts(stage: StageName, resumedAt: number | undefined): void;
  step(stage: StageName, record: StepRecord & { readonly tokensPerSecond: number }): void;
  note(message: Text): void;
  /** A stage is trained, skipped or was finished before. */
  stageEnds(summary: StageSummary, checkpoint: Checkpoint): Promise<void>;
  /** Whether the person asked to stop; the state is then saved and the pipeline ends with `Interrupted`. */
  readonly interrupted: boolean;
}

export interface StageSummary {
  readonly stage: StageName;
  readonly outcome: 'trained' | 'finished before' | 'skipped';
  /** Seconds of training, over all runs that it took. */
  readonly seconds: number;
  readonly evaluations: readonly Evaluation[];
}

/** Thrown between two steps after the state was saved. */
export class Interrupted extends Error {}

/** Run the stages that are not skipped; resolves to what each did. */
export async function runPipeline(options: PipelineOptions, ui: PipelineUi): Promise<StageSummary[]> {
  const { runtime, recipe, seed, out, data, skip } = options;
  const summaries: StageSummary[] = [];
  const checkpoints: Partial<Record<StageName, Checkpoint>> = {};
  /** The checkpoint of an earlier stage, read when a later one first needs it. */
  const need = (stage: StageName): Checkpoint => {
    checkpoints[stage] ??= loadStage(stage, out);
    return checkpoints[stage];
  };
  if (!options.restart) refuseOtherModel(options);
  // A missing or broken checkpoint is told now, not after the stages before it.
  for (const stage of STAGES.filter((each) => !skip.has(each))) {
    for (const each of PARENTS[stage].filter((one) => skip.has(one))) need(each);
  }
  const parent = (stage: StageName): unknown => need(stage).extra['fingerprint'] ?? 'unknown';

  const run = async (
    stage: StageName,
    dependsOn: unknown,
    prepare: () => Pick<StageContext, 'config' | 'tokenizer'>,
    train: (context: StageContext) => Promise<StageResult>,
  ): Promise<void> => {
    const directory = join(out, STAGE_FOLDERS[stage]);
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([stage, seed, dependsOn]))
      .digest('hex');
    const finished = options.restart ? undefined : loadFinished(stage, out, fingerprint);
    if (finished) {
      // A kill after the checkpoint was written leaves the progress.
      rmSync(progressFile(stage, out), { force: true });
      checkpoints[stage] = finished;
      const summary: StageSummary = {
        stage,
        outcome: 'finished before',
        seconds: Number(finished.extra['seconds'] ?? 0),
        evaluations: (finished.extra['evaluations'] as Evaluation[] | undefined) ?? [],
      };
      summaries.push(summary);
      await ui.stageEnds(summary, finished);
      return;
    }
    const { config, tokenizer } = prepare();
    const { io, seconds, close } = openStage(stage, fingerprint, options, ui);
    let result: StageResult;
    try {
      result = await train({ runtime, config, tokenizer, seed, io });
    } finally {
      close();
    }
    checkEvaluations(stage, result.evaluations);
    const extra = { fingerprint, seconds: seconds(), evaluations: result.evaluations };
    saveCheckpoint(directory, { params: result.weights, config, tokenizer, stage, extra });
    rmSync(progressFile(stage, out), { force: true });
    const checkpoint = { params: result.weights, config, tokenizer, stage, extra };
    checkpoints[stage] = checkpoint;
    const summary: StageSummary = {
      stage,
      outcome: 'trained',
      seconds: extra.seconds,
      evaluations: result.evaluations,
    };
    summaries.push(summary);
    await ui.stageEnds(summary, checkpoint);
  };
  const fromParent = (stage: StageName) => (): Checkpoint => need(stage);

  const documents = pretrainDocuments(data.pretrain);
  const chats = conversations(data.sft);
  const pairs = preferences(data.reward);
  const tasks = verifiableTasks(data.rlvf);

  const unlock = lockRun(out);
  try {
    for (const stage of STAGES) {
      if (skip.has(stage)) {
        summaries.push({ stage, outcome: 'skipped', seconds: 0, evaluations: [] });
        continue;
      }
      switch (stage) {
        case 'pretrain': {
          const { generatedDocuments, ...settings } = recipe.pretrain;
          const generate = data.pretrain.own
            ? undefined
            : (epoch: number) => exerciseDocuments(generatedDocuments, seed, epoch);
          const prepare = () => {
            const texts = tokenizerTexts(documents.train, chats.train, seed);
            const tokenizer = Tokenizer.train(texts, { vocabSize: options.config.vocabSize });
            return { tokenizer, config: { ...options.config, vocabSize: tokenizer.vocabSize } };
          };
          const dependsOn = [options.config, recipe.pretrain, data.pretrain, data.sft];
          await run(stage, dependsOn, prepare, (context) =>
            pretrain(context, { ...documents, documents: documents.train, generate }, settings),
          );
          break;
        }
        case 'sft': {
          const { generatedTasks, ...settings } = recipe.sft;
          const generate = data.sft.own
            ? undefined
            : (epoch: number) => exerciseConversations(generatedTasks, seed, epoch);
          const heldOut = data.sft.own ? chats.heldOut : [...chats.heldOut, ...heldOutExercises(60)];
          await run(stage, [parent('pretrain'), recipe.sft, data.sft], fromParent('pretrain'), (context) =>
            supervisedFineTune(
              context,
              need('pretrain').params,
              { conversations: chats.train, generate, heldOut },
              settings,
            ),
          );
          break;
        }
        case 'reward':
          await run(stage, [parent('sft'), recipe.reward, data.reward], fromParent('sft'), (context) =>
            trainRewardModel(
              context,
              need('sft').params,
              { pairs: pairs.train, heldOut: pairs.heldOut },
              recipe.reward,
            ),
          );
          break;
        case 'rlhf':
          requireSameTokens(need('sft'), need('reward'), out);
          await run(
            stage,
            [parent('sft'), parent('reward'), recipe.rlhf, data.sft, data.reward],
            fromParent('sft'),
            (context) => {
              const prompts = rlhfPrompts(
                context.tokenizer,
                chats,
                pairs,
                context.config.contextLength - recipe.rlhf.maxNewTokens,
              );
              return trainRlhf(context, need('sft').params, need('reward').params, prompts, recipe.rlhf);
            },
          );
          break;
        case 'rlvf':
          await run(stage, [parent('rlhf'), recipe.rlvf, data.rlvf], fromParent('rlhf'), (context) =>
            trainRlvf(context, need('rlhf').params, tasks, recipe.rlvf),
          );
          break;
      }
    }
    return summaries;
  } finally {
    unlock();
  }
}

/** Two runs into one folder would overwrite each other's work. */
function lockRun(out: string): () => void {
  return lockFolder(join(out, '.progress'), ({ pid, since, file }) => {
    const [zh, en] = ['zh-CN', 'en-GB'].map((locale) => since.toLocaleString(locale));
    return new UserError({
      zh: `${out} 正被另一个训练使用（进程 ${pid}，${zh} 开始）；请等它结束，或用 --out 指定别的文件夹（如果确定它不是训练，请删除 ${file}）。`,
      en: `${out} is in use by another training (process ${pid}, since ${en}); wait until it ends, or name another folder with --out (if that process is no training, delete ${file}).`,
    });
  });
}

/** Longest prompt, in tokens, on which RLHF practises: short ones keep the batches small. */
const LONGEST_RLHF_PROMPT = 48;

/** First questions of the conversations and prompts of the pairs; those held out of either stage stay held out. */
function rlhfPrompts(
  tokenizer: Tokenizer,
  chats: ReturnType<typeof conversations>,
  pairs: ReturnType<typeof preferences>,
  room: number,
) {
  const firstTurn = (messages: readonly Message[]): readonly Message[] =>
    messages.slice(0, messages.findIndex(({ role }) => role === 'user') + 1);
  const key = (messages: readonly Message[]): string => JSON.stringify(messages);
  const unique = (all: readonly (readonly Message[])[]): (readonly Message[])[] => [
    ...new Map(all.map((messages) => [key(messages), messages])).values(),
  ];
  const heldOut = unique([...chats.heldOut.map(firstTurn), ...pairs.heldOut.map(({ prompt }) => prompt)]);
  const hidden = new Set(heldOut.map(key));
  const train = unique([...chats.train.map(firstTurn), ...pairs.train.map(({ prompt }) => prompt)]).filter(
    (messages) => !hidden.has(key(messages)),
  );
  const render = (all: readonly (readonly Message[])[]): Int32Array[] =>
    all
      .map((messages) => renderPrompt(tokenizer, messages))
      .filter(({ length }) => length <= Math.min(room, LONGEST_RLHF_PROMPT));
  return { prompts: render(train), heldOut: render(heldOut) };
}

/** RLHF hands the tokens of the SFT model to the reward model: both must read them alike. */
function requireSameTokens(sft: Checkpoint, reward: Checkpoint, out: string): void {
  const keyOf = ({ config, tokenizer }: Checkpoint): string =>
    JSON.stringify([Object.entries(config).sort(), tokenizer.toJson()]);
  if (keyOf(sft) === keyOf(reward)) return;
  const [one, other] = [join(out, STAGE_FOLDERS.sft), join(out, STAGE_FOLDERS.reward)];
  throw new UserError({
    zh: `${one} 和 ${other} 的 config.json 或 tokenizer.json 不同，不是同一次训练的结果；请去掉 --skip-reward 重新训练奖励模型。`,
    en: `${one} and ${other} differ in config.json or tokenizer.json, they are not of one training; train the reward model again without --skip-reward.`,
  });
}

/** A finished model of another size is not silently replaced: it may have taken long to train. */
function refuseOtherModel({ config, out, skip }: PipelineOptions): void {
  for (const stage of STAGES.filter((each) => !skip.has(each))) {
    const found = loadUsable(stage, out)?.config;
    if (!found) continue;
    const { vocabSize: _, ...wanted } = config;
    if (Object.entries(wanted).every(([key, value]) => found[key as keyof ModelConfig] === value)) continue;
    const folder = join(out, STAGE_FOLDERS[stage]);
    throw new UserError({
      zh: `${folder} 里是另一种规模的模型；请用 --out 指定别的文件夹，或加 --restart 覆盖它。`,
      en: `${folder} holds a model of another size; name another folder with --out, or replace it with --restart.`,
    });
  }
}

function progressFile(stage: StageName, out: string): string {
  return join(out, '.progress', `${stage}.safetensors`);
}

function loadStage(stage: StageName, out: string): Checkpoint {
  const parameters = stage === 'reward' ? rewardParameters : gptParameters;
  const shapes = (config: ModelConfig): Record<string, Shape> =>
    Object.fromEntries(Object.entries(parameters(config)).map(([name, { shape }]) => [name, shape]));
  return loadCheckpoint(join(out, STAGE_FOLDERS[stage]), shapes);
}

/** A finished checkpoint with this fingerprint; one that is damaged or of other settings is made anew. */
function loadFinished(stage: StageName, out: string, fingerprint: string): Checkpoint | undefined {
  const checkpoint = loadUsable(stage, out);
  return checkpoint?.extra['fingerprint'] === fingerprint ? checkpoint : undefined;
}

/** The checkpoint of a stage, if there is one that can be read. */
function loadUsable(stage: StageName, out: string): Checkpoint | undefined {
  try {
    return loadStage(stage, out);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** The side of a stage that touches disk and terminal. */
function openStage(
  stage: StageName,
  fingerprint: string,
  { out, restart, saveInterval }: PipelineOptions,
  ui: PipelineUi,
): { io: StageIo; seconds: () => number; close: () => void } {
  const file = progressFile(stage, out);
  const resumed = restart ? undefined : loadProgress(file, fingerprint);
  const secondsBefore = Number(resumed?.state['seconds'] ?? 0);
  const stepBefore = Number(resumed?.state['loggedStep'] ?? 0);
  const startedAt = performance.now();
  const seconds = (): number => secondsBefore + (performance.now() - startedAt) / 1000;
  const metrics = openMetrics(out, { resumeAt: { stage, step: stepBefore } });
  let savedAt = performance.now();
  let stepAt = performance.now();
  let loggedStep = stepBefore;
  ui.stageStarts(stage, resumed ? stepBefore : undefined);
  const io: StageIo = {
    resumed,
    log(record) {
      const now = performance.now();
      const tokensPerSecond = (record.tokens * 1000) / (now - stepAt);
      stepAt = now;
      loggedStep = record.step;
      const { step, lr, loss, gradientNorm, figures } = record;
      metrics.log({ stage, step, loss, lr, tokensPerSecond, gradientNorm, ...figures });
      ui.step(stage, { ...record, tokensPerSecond });
    },
    note: ui.note,
    offer(make) {
      const due = performance.now() - savedAt >= saveInterval * 1000;
      if (!due && !ui.interrupted) return;
      const { tensors, state } = make();
      saveTrainingState(file, { tensors, state: { ...state, fingerprint, loggedStep, seconds: seconds() } });
      savedAt = performance.now();
      stepAt = savedAt;
      if (ui.interrupted) throw new Interrupted();
    },
  };
  return { io, seconds, close: () => metrics.close() };
}

function loadProgress(file: string, fingerprint: string) {
  if (!existsSync(file)) return undefined;
  try {
    const { tensors, state } = loadTrainingState(file);
    const known = state as Record<string, unknown>;
    return known['fingerprint'] === fingerprint ? { tensors, state: known } : undefined;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
