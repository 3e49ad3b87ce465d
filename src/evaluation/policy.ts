/**
 * @file What RLHF is for: answers that are liked better than those of the SFT model, to the same held-out prompts, without
 * leaving it far behind and without saying the same to everybody.
 */

import type { Message } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import type { Text } from '../i18n.ts';
import { PLAIN_SAMPLING } from '../sampling.ts';
import { createScorer } from '../scorer.ts';
import { type Episode, packEpisodes, tokensOf } from '../stages/episode-rows.ts';
import { createJudge } from '../stages/policy-judge.ts';
import type { NdArray, Runtime } from '../tensor/index.ts';
import { distinctShare, ngramsOf, repetition } from '../variety.ts';
import { type Figure, figure } from './figures.ts';
import { bootstrap, type Estimate, jackknife } from './intervals.ts';
import { fittingPrompts, respond } from './responses.ts';

/** Responses to each prompt. */
const ROUNDS = 2;

/** Responses of a model to the held-out prompts, with their scores; those to one prompt stand together. */
export interface ScoredResponses {
  readonly episodes: readonly Episode[];
  /** Of the reward model that the policy was trained on. */
  readonly rewards: readonly number[];
  /** Of the second one. */
  readonly verdicts: readonly number[];
}

export interface PolicyOptions {
  readonly runtime: Runtime;
  readonly reward: Checkpoint;
  readonly judge: Checkpoint;
  readonly prompts: readonly (readonly Message[])[];
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly seed: number;
}

/** Sample responses to the prompts, from the same random numbers for every model, and score them twice. */
export async function sampleResponses(
  checkpoint: Checkpoint,
  options: PolicyOptions,
): Promise<ScoredResponses> {
  const { runtime, reward, judge, maxNewTokens, temperature, seed } = options;
  const prompts = fittingPrompts(checkpoint, options.prompts, maxNewTokens).flatMap((prompt) =>
    Array.from({ length: ROUNDS }, () => prompt),
  );
  const sampling = { ...PLAIN_SAMPLING, temperature };
  const episodes = await respond({ runtime, checkpoint, prompts, sampling, maxNewTokens, seed });
  return {
    episodes,
    rewards: await scoresOf(runtime, reward, episodes),
    verdicts: await scoresOf(runtime, judge, episodes),
  };
}

async function scoresOf(
  runtime: Runtime,
  { config, params: weights }: Checkpoint,
  episodes: readonly Episode[],
): Promise<number[]> {
  if (episodes.length === 0) return [];
  const sequences = episodes.map(tokensOf);
  const length = longestOf(episodes);
  const scorer = await createScorer({ runtime, config, weights, length });
  const scores = await scorer.score(sequences);
  await scorer.release();
  return scores;
}

function longestOf(episodes: readonly Episode[]): number {
  return Math.max(...episodes.map((episode) => tokensOf(episode).length));
}

/** Figures of a model's responses; those of the SFT model have no `reference` to be compared with. */
export async function policyFigures(
  responses: ScoredResponses,
  options: PolicyOptions,
  checkpoint: Checkpoint,
  reference?: { readonly checkpoint: Checkpoint; readonly responses: ScoredResponses },
): Promise<Figure[]> {
  const { seed, runtime, temperature } = options;
  const { episodes, rewards, verdicts } = responses;
  if (episodes.length === 0) return [];
  /** Mean over responses; prompts are what is resampled. */
  const average = (values: readonly number[]): Estimate =>
    bootstrap(byPrompt(values), (sample) => meanOfAll(sample.flat()), seed);
  const figures: Figure[] = [];
  const add = (
    id: string,
    name: Text,
    unit: Figure['unit'],
    estimate: Estimate,
    better?: Figure['better'],
  ): void => void figures.push(figure(id, name, unit, estimate, { better }));

  add('reward', { zh: '平均奖励', en: 'mean reward' }, 'number', average(rewards), 'higher');
  if (reference) {
    const { responses: other } = reference;
    const gain = average(rewards.map((each, i) => each - other.rewards[i]));
    add(
      'reward-change',
      { zh: '奖励相对 SFT 的变化', en: 'reward, change from SFT' },
      'number',
      gain,
      'higher',
    );
    const wins = average(verdicts.map((each, i) => (Math.sign(each - other.verdicts[i]) + 1) / 2));
    const winRate = figure('win-rate', WIN_RATE, 'share', wins, {
      better: 'higher',
      baselines: [{ name: { zh: '不分胜负', en: 'a draw' }, value: 0.5 }],
    });
    figures.push(winRate);
    const kl = await divergences({ runtime, temperature }, checkpoint, reference.checkpoint, episodes);
    add('kl', { zh: '与 SFT 的 KL（每个回答）', en: 'KL from SFT, a response' }, 'nats', average(kl));
  }
  const tokens = episodes.map(({ response }) => response.tokens);
  const lengths = tokens.map(({ length }) => length);
  add('length', { zh: '回答长度（词元）', en: 'response length in tokens' }, 'number', average(lengths));
  const ended = episodes.map(({ response }) => Number(response.ended));
  add(
    'end-rate',
    { zh: '自己结束的回答', en: 'responses that end by themselves' },
    'share',
    average(ended),
    'higher',
  );
  for (const n of [1, 2]) {
    const phrases = byPrompt(tokens.map((each) => ngramsOf(each, n)));
    const estimate = jackknife(phrases, (sample) => distinctShare(sample.flat(2)), SHARE);
    add(`distinct-${n}`, { zh: `distinct-${n}`, en: `distinct-${n}` }, 'share', estimate, 'higher');
  }
  const repeated = average(tokens.map(repetition));
  add('repetition', { zh: '重复率', en: 'repetition' }, 'share', repeated, 'lower');
  return figures;
}

const SHARE = { least: 0, most: 1 };
const WIN_RATE: Text = { zh: '裁判判胜 SFT 的比例', en: 'win rate over SFT, by the judge' };

function meanOfAll(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}

/** What belongs to the responses to one prompt, together. */
function byPrompt<T>(values: readonly T[]): T[][] {
  return Array.from({ length: values.length / ROUNDS }, (_, i) => values.slice(i * ROUNDS, (i + 1) * ROUNDS));
}

/**
 * log π(response) - log π_SFT(response) of each response. Its mean over responses that the policy sampled estimates the
 * KL divergence in nats a response, without bias.
 */
async function divergences(
  { runtime, temperature }: Pick<PolicyOptions, 'runtime' | 'temperature'>,
  policy: Checkpoint,
  reference: Checkpoint,
  episodes: readonly Episode[],
): Promise<number[]> {
  const { config } = policy;
  const judge = await createJudge({
    runtime,
    config,
    weights: policy.params,
    length: longestOf(episodes),
    temperature,
  });
  const packed = packEpisodes(episodes, longestOf(episodes));
  const logLikelihoods = async (model: Readonly<Record<string, NdArray>>): Promise<number[]> =>
    (await judge.judge(model, packed)).map(({ logProbs }) => logProbs.reduce((a, b) => a + b, 0));
  const own = await logLikelihoods(policy.params);
  const other = await logLikelihoods(reference.params);
  await judge.release();
  return episodes.map((_, i) => own[i] - other[i]);
}
