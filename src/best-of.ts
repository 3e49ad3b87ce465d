/**
 * @file Best of N: sample several answers, and keep the one that the reward model scores highest.
 *
 *     npm run generate -- --prompt "你好" --best-of 8
 *
 * The simplest use of a reward model, without any training (Stiennon et al. 2020 compare PPO with it). It costs N times
 * the computing at every answer, and what the reward model overlooks is overlooked N times.
 */

import type { Message } from './chat-format.ts';
import { renderPrompt } from './chat-format.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { ContinuationOptions } from './continuation.ts';
import { createDecoder } from './decoder.ts';
import { type Generated, generateBatch } from './generate.ts';
import { createScorer, type Scorer } from './scorer.ts';
import { renderForScoring } from './stages/pairs.ts';
import { createRandom, foldSeed, type Runtime } from './tensor/index.ts';

/** What is needed of a checkpoint to run it. */
type Model = Pick<Checkpoint, 'params' | 'config' | 'tokenizer'>;

/** An answer and what the reward model thinks of it. */
export interface ScoredAnswer extends Generated {
  readonly reward: number;
}

export interface BestOf {
  readonly count: number;
  /** Answers to a conversation, the best first. Candidate `i` depends on the seed and `i` alone, not on their number. */
  answer(
    messages: readonly Message[],
    options: Omit<ContinuationOptions, 'random' | 'tokenizer'> & {
      readonly seed: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<ScoredAnswer[]>;
  release(): Promise<void>;
}

export async function createBestOf(options: {
  readonly runtime: Runtime;
  readonly writer: Model;
  readonly rewardModel: Model;
  /** How many answers to choose from, N. */
  readonly count: number;
}): Promise<BestOf> {
  const { runtime, writer, rewardModel, count } = options;
  const { tokenizer } = writer;
  const decoder = await createDecoder({
    runtime,
    config: writer.config,
    weights: writer.params,
    batchSize: count,
  });
  const longest = rewardModel.config.contextLength;
  const scorers = new Map<number, Scorer>();
  /** A scorer for sequences of this length, rounded up so that few are compiled. */
  const scorerFor = async (length: number): Promise<Scorer> => {
    const padded = Math.min(longest, 32 * Math.ceil(length / 32));
    const scorer =
      scorers.get(padded) ??
      (await createScorer({
        runtime,
        config: rewardModel.config,
        weights: rewardModel.params,
        length: padded,
      }));
    scorers.set(padded, scorer);
    return scorer;
  };
  return {
    count,
    async answer(messages, { seed, ...writing }) {
      const prompt = renderPrompt(tokenizer, messages);
      const answers = await generateBatch({
        ...writing,
        decoder,
        tokenizer,
        prompts: Array.from({ length: count }, () => prompt),
        randomOf: (index) => createRandom(foldSeed(seed, index)),
      });
      // An answer that filled the context has no room for its end, and is read without it.
      const sequences = answers.map(({ text }) =>
        renderForScoring(rewardModel.tokenizer, messages, text).subarray(0, longest),
      );
      const scorer = await scorerFor(Math.max(...sequences.map(({ length }) => length)));
      const rewards = await scorer.score(sequences);
      const scored = answers.map((each, i) => ({ ...each, reward: rewards[i] }));
      return scored.sort((a, b) => b.reward - a.reward);
    },
    async release() {
      await decoder.release();
      for (const scorer of scorers.values()) await scorer.release();
    },
  };
}
