/** @file Practice for RLHF: prompts, the responses that a policy samples to them, and the scores of a reward model. */

import { createDecoder } from '../decoder.ts';
import { rollout } from '../rollout.ts';
import { PLAIN_SAMPLING } from '../sampling.ts';
import { createScorer } from '../scorer.ts';
import { createRandom, foldSeed, type NdArray, type Random } from '../tensor/index.ts';
import { SPECIAL } from '../tokenizer.ts';
import { distinct } from '../variety.ts';
import { tokensOf } from './episode-rows.ts';
import { type Attempt, mean, type Practice } from './practice.ts';
import type { SftData } from './sft.ts';
import { requireFitting, type StageContext } from './stage.ts';

export interface RlhfData {
  /** Tokenised prompts, each ending where the assistant begins to speak. */
  readonly prompts: readonly Int32Array[];
  readonly heldOut: readonly Int32Array[];
  /** What fine-tuning taught, for PPO to rehearse. */
  readonly rehearsal?: SftData;
}

/** Held-out prompts of an examination, at most: enough for a glance, where `eval` asks all of them. */
const EXAMINED = 256;

/** @throws UserError where no prompt leaves room for a response */
export async function createScoredPractice(
  { runtime, config, seed }: StageContext,
  rewardWeights: Readonly<Record<string, NdArray>>,
  data: RlhfData,
  options: {
    /** Responses that are written at a time. */
    readonly batchSize: number;
    readonly maxNewTokens: number;
    readonly temperature: number;
  },
): Promise<Practice> {
  const { batchSize, maxNewTokens, temperature } = options;
  requireFitting(
    data.prompts.length,
    { zh: '提问（微调和偏好数据）', en: 'the prompts of the SFT and preference data' },
    config.contextLength - maxNewTokens,
  );
  const longestPrompt = Math.max(...[...data.prompts, ...data.heldOut].map(({ length }) => length));
  const length = Math.min(longestPrompt + maxNewTokens, config.contextLength);
  const scorer = await createScorer({ runtime, config, weights: rewardWeights, length });

  /** Sample a response to each prompt. No top-k or top-p: the policy is trained on what it really is. */
  const respond = async (
    weights: Readonly<Record<string, NdArray>>,
    prompts: readonly Int32Array[],
    random: Random,
  ): Promise<Attempt[]> => {
    const decoder = await createDecoder({ runtime, config, weights, batchSize, maxLength: length });
    const sampling = { ...PLAIN_SAMPLING, temperature };
    const stopTokens = [SPECIAL.imEnd, SPECIAL.eos];
    const responses = await rollout(decoder, prompts, { maxNewTokens, sampling, random, stopTokens });
    await decoder.release();
    const episodes = prompts.map((prompt, i) => ({ prompt, response: responses[i] }));
    const rewards = await scorer.score(episodes.map(tokensOf));
    return episodes.map((episode, i) => ({ episode, reward: rewards[i] }));
  };

  return {
    stage: 'rlhf',
    length,
    attempt(weights, { questions, answers }, random) {
      const drawn = Array.from({ length: questions }, () => random.pick(data.prompts));
      const prompts = drawn.flatMap((prompt) => Array.from({ length: answers }, () => prompt));
      return respond(weights, prompts, random);
    },
    /** The reward, and beside it a figure that no reward model can be talked into: how varied the responses are. */
    async examine(weights) {
      if (data.heldOut.length === 0) return [];
      const random = createRandom(foldSeed(seed, 'rlhf-examination'));
      const prompts = random.shuffle(data.heldOut).slice(0, EXAMINED);
      const attempts = await respond(weights, prompts, random);
      return [
        {
          name: { zh: '留出提问 平均奖励', en: 'held-out mean reward' },
          value: mean(attempts.map(({ reward }) => reward)),
          unit: 'number',
        },
        {
          name: { zh: '留出提问 回答多样性 distinct-2', en: 'held-out distinct-2' },
          value: distinct(
            attempts.map(({ episode }) => episode.response.tokens),
            2,
          ),
          unit: 'number',
        },
      ];
    },
    release: () => scorer.release(),
  };
}
