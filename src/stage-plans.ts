/** @file How each stage of the pipeline is trained: on which data, from which checkpoints, by which method. */

import type { Message } from './chat-format.ts';
import type { Checkpoint } from './checkpoint.ts';
import {
  conversations,
  exerciseConversations,
  exerciseDocuments,
  heldOutExercises,
  preferences,
  pretrainDocuments,
  type SourceText,
  spoiltPairs,
  tokenizerTexts,
  verifiableTasks,
} from './data/datasets.ts';
import { practicePrompts } from './data/practice-prompts.ts';
import { hurriedConversations } from './data/short-answers.ts';
import { UserError } from './errors.ts';
import type { PipelineOptions } from './pipeline.ts';
import type { Recipe } from './recipes.ts';
import { checkpointFolder } from './run-folder.ts';
import { trainBestOfN } from './stages/best-of-n.ts';
import { trainDpo } from './stages/dpo.ts';
import { trainGrpo } from './stages/grpo.ts';
import { pretrain } from './stages/pretrain.ts';
import { trainRewardModel } from './stages/reward-model.ts';
import { trainRlhf } from './stages/rlhf.ts';
import { trainRlvf } from './stages/rlvf.ts';
import { createScoredPractice } from './stages/scored-responses.ts';
import { type SftData, supervisedFineTune } from './stages/sft.ts';
import type { StageContext, StageName, StageResult } from './stages/stage.ts';
import { createVerifiedPractice } from './stages/verified-answers.ts';
import { Tokenizer } from './tokenizer.ts';

/** What a stage is trained on. */
export interface StagePlan {
  /** Everything that its result depends on, besides the seed. */
  readonly dependsOn: readonly unknown[];
  readonly start: () => Pick<StageContext, 'config' | 'tokenizer'>;
  readonly train: (context: StageContext) => Promise<StageResult>;
}

/** The stages whose checkpoints a stage starts from. */
export function parentsOf(stage: StageName, { rlhfAlgorithm }: Recipe): readonly StageName[] {
  const parents: Readonly<Record<StageName, readonly StageName[]>> = {
    pretrain: [],
    sft: ['pretrain'],
    reward: ['sft'],
    rlhf: rlhfAlgorithm === 'dpo' ? ['sft'] : ['sft', 'reward'],
    rlvf: ['rlhf'],
  };
  return parents[stage];
}

/** What a stage is asked for, with its method where there are several: what is recorded with its checkpoint. */
export function settingsOf(stage: StageName, recipe: Recipe): Readonly<Record<string, unknown>> {
  const { rlhfAlgorithm, rlvfAlgorithm, rlhf, rlvf, dpo, grpo, bestOfN } = recipe;
  const writing = ({ maxNewTokens, temperature }: Recipe['rlhf'] | Recipe['rlvf']) => ({
    maxNewTokens,
    temperature,
  });
  if (stage === 'rlhf') {
    const methods = { ppo: rlhf, dpo, 'best-of-n': { ...bestOfN.rlhf, ...writing(rlhf) } };
    return { algorithm: rlhfAlgorithm, ...methods[rlhfAlgorithm] };
  }
  if (stage === 'rlvf') {
    const methods = {
      reinforce: rlvf,
      grpo: { ...rlvf, ...grpo },
      'best-of-n': { ...bestOfN.rlvf, ...writing(rlvf) },
    };
    return { algorithm: rlvfAlgorithm, ...methods[rlvfAlgorithm] };
  }
  return { ...recipe[stage] };
}

/** Answers of best-of-N that are written at a time. */
const ANSWERS_AT_A_TIME = 32;

/** How each stage is trained; `need` gives the checkpoint of an earlier one. */
export function planStages(
  { config, recipe, seed, out, data, taskTypes, verifiers, microBatchSize }: PipelineOptions,
  need: (stage: StageName) => Checkpoint,
): Readonly<Record<StageName, () => StagePlan>> {
  const documents = pretrainDocuments(data.pretrain);
  const chats = conversations(data.sft);
  const pairs = preferences(data.reward);
  const tasks = verifiableTasks(data.rlvf, taskTypes);
  /** A stage depends on the types only if tasks are generated for it. */
  const typesFor = (source: SourceText): PipelineOptions['taskTypes'] => (source.own ? undefined : taskTypes);
  const fingerprint = (stage: StageName): unknown => need(stage).extra['fingerprint'] ?? 'unknown';
  const pairData = { pairs: pairs.train, heldOut: pairs.heldOut };
  const { generatedTasks, shortAnswers, ...sftSettings } = recipe.sft;
  const exercises = (epoch: number): (readonly Message[])[] =>
    exerciseConversations(generatedTasks, seed, epoch, taskTypes);
  const chatData: SftData = data.sft.own
    ? { conversations: chats.train, heldOut: chats.heldOut }
    : {
        conversations: [],
        generate: (epoch) => [
          ...hurriedConversations(chats.train, shortAnswers, seed, epoch),
          ...exercises(epoch),
        ],
        heldOut: [...chats.heldOut, ...heldOutExercises(60, taskTypes)],
      };
  // How to work things out: what neither preferences nor final answers tell.
  const rehearsal: SftData = data.sft.own
    ? chatData
    : { conversations: [], generate: exercises, heldOut: [] };
  return {
    pretrain() {
      const { generatedDocuments, ...settings } = recipe.pretrain;
      const generate = data.pretrain.own
        ? undefined
        : (epoch: number) => exerciseDocuments(generatedDocuments, seed, epoch);
      return {
        dependsOn: [config, recipe.pretrain, data.pretrain, data.sft],
        start() {
          const texts = tokenizerTexts(documents.train, chats.train, seed);
          const tokenizer = Tokenizer.train(texts, { vocabSize: config.vocabSize });
          return { tokenizer, config: { ...config, vocabSize: tokenizer.vocabSize } };
        },
        train: (context) =>
          pretrain(
            context,
            { documents: documents.train, heldOut: documents.heldOut, generate },
            { ...settings, microBatchSize },
          ),
      };
    },
    sft() {
      return {
        dependsOn: [fingerprint('pretrain'), { ...recipe.sft, taskTypes: typesFor(data.sft) }, data.sft],
        start: () => need('pretrain'),
        train: (context) =>
          supervisedFineTune(context, need('pretrain').params, chatData, { ...sftSettings, microBatchSize }),
      };
    },
    reward() {
      const { generatedPairs, ...settings } = recipe.reward;
      const generate =
        data.reward.own || data.sft.own
          ? undefined
          : (epoch: number) => spoiltPairs(chats, pairs, generatedPairs, seed, epoch);
      return {
        dependsOn: [fingerprint('sft'), recipe.reward, data.reward, data.sft],
        start: () => need('sft'),
        train: (context) =>
          trainRewardModel(
            context,
            need('sft').params,
            { ...pairData, generate },
            { ...settings, microBatchSize },
          ),
      };
    },
    rlhf() {
      const algorithm = recipe.rlhfAlgorithm;
      const start = (): Checkpoint => need('sft');
      if (algorithm === 'dpo') {
        return {
          dependsOn: [fingerprint('sft'), algorithm, recipe.dpo, data.reward],
          start,
          train: (context) => trainDpo(context, need('sft').params, pairData, recipe.dpo),
        };
      }
      requireSameTokens(need('sft'), need('reward'), out);
      const { maxNewTokens, temperature } = recipe.rlhf;
      const bestOfN = { ...recipe.bestOfN.rlhf, maxNewTokens, temperature };
      const settings = algorithm === 'ppo' ? recipe.rlhf : bestOfN;
      return {
        dependsOn: [fingerprint('sft'), fingerprint('reward'), algorithm, settings, data.sft, data.reward],
        start,
        async train(context) {
          const [sft, reward] = [need('sft').params, need('reward').params];
          const room = context.config.contextLength - maxNewTokens;
          const prompts = practicePrompts(context.tokenizer, chats, pairs, room);
          if (algorithm === 'ppo') {
            return trainRlhf(context, sft, reward, { ...prompts, rehearsal }, recipe.rlhf);
          }
          const writing = { ...bestOfN, batchSize: ANSWERS_AT_A_TIME };
          const practice = await createScoredPractice(context, reward, prompts, writing);
          return trainBestOfN(context, sft, practice, bestOfN);
        },
      };
    },
    rlvf() {
      const algorithm = recipe.rlvfAlgorithm;
      const { maxNewTokens, temperature } = recipe.rlvf;
      const grpo = { ...recipe.rlvf, ...recipe.grpo };
      const bestOfN = { ...recipe.bestOfN.rlvf, maxNewTokens, temperature };
      const settings = { reinforce: recipe.rlvf, grpo, 'best-of-n': bestOfN }[algorithm];
      return {
        dependsOn: [
          fingerprint('rlhf'),
          algorithm,
          { ...settings, taskTypes: typesFor(data.rlvf), verifiers },
          data.rlvf,
          data.sft,
        ],
        start: () => need('rlhf'),
        async train(context) {
          const { params } = need('rlhf');
          const practised = { ...tasks, rehearsal };
          if (algorithm === 'reinforce') return trainRlvf(context, params, practised, recipe.rlvf);
          if (algorithm === 'grpo') return trainGrpo(context, params, practised, grpo);
          const writing = { ...bestOfN, batchSize: ANSWERS_AT_A_TIME };
          const practice = await createVerifiedPractice(context, tasks, writing);
          return trainBestOfN(context, params, practice, bestOfN);
        },
      };
    },
  };
}

/** The reward model is handed the tokens of the SFT model: both must read them alike. */
function requireSameTokens(sft: Checkpoint, reward: Checkpoint, out: string): void {
  const keyOf = ({ config, tokenizer }: Checkpoint): string =>
    JSON.stringify([Object.entries(config).sort(), tokenizer.toJson()]);
  if (keyOf(sft) === keyOf(reward)) return;
  const [one, other] = [checkpointFolder(out, 'sft'), checkpointFolder(out, 'reward')];
  throw new UserError({
    zh: `${one} 和 ${other} 的 config.json 或 tokenizer.json 不同，不是同一次训练的结果；请去掉 --skip-reward 重新训练奖励模型。`,
    en: `${one} and ${other} differ in config.json or tokenizer.json, they are not of one training; train the reward model again without --skip-reward.`,
  });
}
