/**
 * @file Verifiers: programs that can tell whether an answer is right, and so give a reward that no model can flatter.
 *
 * In RLVF (reinforcement learning from verifiable rewards; Lambert et al. 2024, "Tulu 3") the reward is not a learned
 * opinion but a check. That only helps if the check cannot be fooled: a policy finds whatever pays. So a verifier here
 * accepts one committed answer and nothing else. An empty answer, a list of candidates and a contradiction are wrong.
 *
 * Your own verifier takes a few lines:
 *
 *     const parityVerifier = createVerifier('parity', (answer, expected) => answer.trim() === expected);
 *     registerVerifier(parityVerifier); // tasks with "type": "parity" now use it
 */

import { UserError } from './errors.ts';
import { comparisonVerifier } from './verifiers/comparison.ts';
import { countingVerifier } from './verifiers/counting.ts';
import { datesVerifier } from './verifiers/dates.ts';
import { equationVerifier } from './verifiers/equation.ts';
import { logicVerifier } from './verifiers/logic.ts';
import { mathVerifier } from './verifiers/math.ts';
import { multiplicationVerifier } from './verifiers/multiplication.ts';
import { reversingVerifier } from './verifiers/reversing.ts';
import { sortingVerifier } from './verifiers/sorting.ts';
import { unitsVerifier } from './verifiers/units.ts';
import type { Verifier } from './verifiers/verifier.ts';

export { RELATIONS, type Relation } from './verifiers/comparison.ts';
export { logicVerifier, VERDICTS, type Verdict, verdictOf } from './verifiers/logic.ts';
export { mathVerifier } from './verifiers/math.ts';
export { createVerifier, RIGHT_REWARD, type Verifier, WRONG_REWARD } from './verifiers/verifier.ts';

const BUILT_IN: readonly Verifier[] = [
  mathVerifier,
  logicVerifier,
  multiplicationVerifier,
  comparisonVerifier,
  countingVerifier,
  reversingVerifier,
  sortingVerifier,
  equationVerifier,
  unitsVerifier,
  datesVerifier,
];

/**
 * Where all copies of this module in a process find one registry: a verifier in a folder without `"type": "module"` is
 * loaded as CommonJS, and gets a copy of its own.
 */
const SHARED = globalThis as unknown as Record<symbol, Map<string, Verifier> | undefined>;
const REGISTRY = Symbol.for('MyLLM verifiers');

/** The verifiers by task type. */
export const VERIFIERS: Map<string, Verifier> =
  SHARED[REGISTRY] ?? new Map(BUILT_IN.map((verifier) => [verifier.type, verifier] as const));
SHARED[REGISTRY] = VERIFIERS;

/** Let tasks of a new type be judged. @throws UserError if the type has a verifier already */
export function registerVerifier(verifier: Verifier): void {
  if (VERIFIERS.has(verifier.type)) {
    throw new UserError({
      zh: `类型“${verifier.type}”已经有验证器了：请换一个名字。`,
      en: `There is a verifier of the type "${verifier.type}" already: choose another name.`,
    });
  }
  VERIFIERS.set(verifier.type, verifier);
}

/** The verifier of a task type. @throws UserError if there is none */
export function verifierFor(type: string): Verifier {
  const verifier = VERIFIERS.get(type);
  if (verifier === undefined) {
    const known = [...VERIFIERS.keys()].join(', ');
    throw new UserError({
      zh: `没有类型为“${type}”的验证器：任务的 type 可以是 ${known}。`,
      en: `There is no verifier of the type "${type}": the type of a task can be ${known}.`,
    });
  }
  return verifier;
}
