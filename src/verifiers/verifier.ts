/** @file What a verifier is, and the usual rewards. */

/** Judges answers to one type of task. */
export interface Verifier {
  /** The `type` of the tasks that it judges. */
  readonly type: string;
  /** `RIGHT_REWARD` or `WRONG_REWARD`. @throws UserError if `expected` is no answer of this type */
  reward(answer: string, expected: string): number;
  /** @throws UserError if `expected` is no answer of this type */
  isCorrect(answer: string, expected: string): boolean;
}

export const RIGHT_REWARD = 1;
/** Chosen so that guessing pays nothing: one of three verdicts at random earns (1 - 0.5 - 0.5) / 3 = 0. */
export const WRONG_REWARD = -0.5;

/** A verifier with the usual rewards from a test of correctness. */
export function createVerifier(
  type: string,
  isCorrect: (answer: string, expected: string) => boolean,
): Verifier {
  return {
    type,
    isCorrect,
    reward: (answer, expected) => (isCorrect(answer, expected) ? RIGHT_REWARD : WRONG_REWARD),
  };
}
