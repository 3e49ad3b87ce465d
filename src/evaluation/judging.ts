/**
 * @file Whether an answer says what it has to: by keywords, so that everybody gets the same verdict and can check it.
 *
 * A question lists groups of patterns; an answer is right if of every group it contains at least one, and nothing that it
 * must not say. That is coarse in both directions: a right answer in unexpected words counts as wrong, and nonsense
 * around the keywords counts as right. It compares models on the same questions; it is no grade.
 */

import { z } from 'zod';

const pattern = z.string().refine((source) => {
  try {
    return new RegExp(source, 'iu') instanceof RegExp;
  } catch {
    return false;
  }
}, 'not a regular expression');

const question = z.strictObject({
  /** As it is asked here, in words that no training data has. */
  prompt: z.string().min(1),
  /** The question of the training conversations whose answer holds what is asked for. */
  of: z.string().min(1),
  /** Of each group, one pattern at least must occur. */
  must: z.array(z.array(pattern).min(1)).min(1),
});

const schema = z.strictObject({
  /** What an answer about itself must not claim: to be a person, or another product. */
  identityMustNot: z.array(pattern),
  identity: z.array(question),
  paraphrases: z.array(question),
});

/** The questions of `data/eval_data.json`. */
export type EvaluationQuestions = z.infer<typeof schema>;
export type JudgedQuestion = z.infer<typeof question>;

export function parseQuestions(json: string): EvaluationQuestions {
  return schema.parse(JSON.parse(json));
}

/** Whether an answer contains what it must and nothing that it must not; capitals do not matter. */
export function isRight(
  answer: string,
  must: readonly (readonly string[])[],
  mustNot: readonly string[] = [],
): boolean {
  const says = (source: string): boolean => new RegExp(source, 'iu').test(answer);
  return must.every((group) => group.some(says)) && !mustNot.some(says);
}
