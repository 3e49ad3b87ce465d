/**
 * @file What a policy practises on: questions, its own answers to them, and a reward for every answer.
 *
 * Who gives the reward is all that RLHF and RLVF differ in here: a reward model (`scored-responses.ts`) or a program that
 * checks (`verified-answers.ts`). What is made of the rewards is told by each method in its own file.
 */

import { createRandom, type NdArray, type Random, type RandomState } from '../tensor/index.ts';
import { type Episode, tokensOf } from './episode-rows.ts';
import type { Evaluation, StageName } from './stage.ts';

/** An answer to a question and what it earned. */
export interface Attempt {
  readonly episode: Episode;
  readonly reward: number;
  /** Whether it is right; undefined where that is no question, but only how well it is liked. */
  readonly correct?: boolean;
}

/** One figure on held-out questions. */
export type Figure = Pick<Evaluation, 'name' | 'unit'> & { readonly value: number };

export interface Practice {
  readonly stage: StageName;
  /** The longest question with its answer, in tokens, T. */
  readonly length: number;
  /** Draw questions and answer each of them so many times, as the weights would; answers to one question are neighbours. */
  attempt(
    weights: Readonly<Record<string, NdArray>>,
    count: { readonly questions: number; readonly answers: number },
    random: Random,
  ): Promise<Attempt[]>;
  /** Figures on held-out questions; none where there are no such questions. */
  examine(weights: Readonly<Record<string, NdArray>>): Promise<Figure[]>;
  release(): Promise<void>;
}

/** The figures of two examinations side by side. */
export function compareFigures(before: readonly Figure[], after: readonly Figure[]): Evaluation[] {
  return after.map(({ name, value, unit }, i) => ({ name, before: before[i]?.value, after: value, unit }));
}

/** Tokens of the questions and of the answers to them. */
export function countTokens(attempts: readonly Attempt[]): number {
  return attempts.reduce((total, { episode }) => total + tokensOf(episode).length, 0);
}

/** What every method reports of the answers that it samples. */
export function describeAttempts(attempts: readonly Attempt[]): Record<string, number> {
  const responses = attempts.map(({ episode }) => episode.response);
  return {
    endRate: mean(responses.map(({ ended }) => Number(ended))),
    responseLength: mean(responses.map(({ tokens }) => tokens.length)),
  };
}

/**
 * No decay towards zero, and an ε far above the size of the gradients: then a step is as long as its gradient, as in
 * plain gradient descent with momentum. With the usual small ε Adam moves every weight by the full learning rate, also
 * where the gradient of a few dozen samples is nothing but noise, and skills learned before do not survive that.
 */
export const REINFORCEMENT_ADAMW = { weightDecay: 0, epsilon: 1e-3 };

/** Go on with a saved stream, or start one. */
export function resumeRandom(saved: unknown, seed: number): Random {
  const state = saved as RandomState | undefined;
  return state ? createRandom(state.seed, state.counter) : createRandom(seed);
}

export function mean(numbers: readonly number[]): number {
  return numbers.reduce((total, x) => total + x, 0) / numbers.length;
}

/** The mean, and 0 of nothing: figures of an iteration in which there was nothing to learn. */
export function meanOrZero(numbers: readonly number[]): number {
  return numbers.length === 0 ? 0 : mean(numbers);
}

/** Standard deviation of all there is (not an estimate from a sample: divided by the count). */
export function deviation(numbers: readonly number[]): number {
  const center = mean(numbers);
  return Math.sqrt(mean(numbers.map((x) => (x - center) ** 2)));
}
