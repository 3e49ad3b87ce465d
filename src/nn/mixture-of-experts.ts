/**
 * @file Mixture of experts (Shazeer et al. 2017; Fedus et al. 2021, "Switch Transformers"; Jiang et al. 2024, "Mixtral of
 * Experts"): many feed-forward layers in the place of one, of which each token uses a few. The model gets more weights to
 * know things with, while each token goes through few of them.
 *
 *     npm run train -- --num-experts 8 --experts-per-token 2
 *
 * A router, a linear layer, gives each token a score for each expert. The k with the highest scores are its experts, and
 * what they give is added up by weights that sum to 1, the gates. Nothing tells the router to use all experts, and those
 * that it uses learn more and are used more: the balancing loss pulls against that.
 *
 * Every expert is computed for every token here, and multiplied by 0 where it was not chosen: a graph has one shape, and
 * how many tokens an expert gets is not known when it is built. So it is the definition that can be read here, and an
 * expert costs its time whether it is used or not.
 *
 * Legend: M tokens, C channels, E experts, k experts of a token.
 */

import { arange, argmax, cast, equal, softmax, split, sum, type Tensor, where } from '../tensor/index.ts';
import { Linear } from './layers.ts';
import type { ParameterSpec, Parameters } from './parameters.ts';

/** What a block's feed-forward part gives. */
export interface Transformed {
  readonly output: Tensor;
  /** The balancing loss, a scalar, where there are experts. */
  readonly balance?: Tensor;
}

/** Weight of the balancing loss beside the loss of the task (α of Fedus et al.). */
export const BALANCE_WEIGHT = 0.01;

/** Less than any score. */
const TAKEN = -1e30;

/**
 * Which experts each token goes through, and with what weights.
 *
 * @param scores `[M, E]`
 * @returns `gates [M, E]`: probabilities of the k chosen experts, scaled to sum to 1, and 0 elsewhere (Mixtral). With k = 1
 * that would always be 1, and the router would never learn: then it is the probability itself (Switch). `chosen [M, E]`:
 * 1 or 0.
 */
export function route(
  scores: Tensor,
  k: number,
): { readonly gates: Tensor; readonly chosen: Tensor; readonly probabilities: Tensor } {
  const [M, E] = scores.shape;
  const probabilities = softmax(scores);
  let left = scores;
  let chosen: Tensor | undefined;
  for (let i = 0; i < k; i++) {
    // The first of equals: always k of them.
    const best = equal(argmax(left, -1).reshape([M, 1]), arange(E).reshape([1, E])); // [M, E]
    left = where(best, TAKEN, left);
    chosen = chosen ? chosen.add(cast(best, 'float32')) : cast(best, 'float32');
  }
  const kept = probabilities.mul(chosen!);
  return { gates: k === 1 ? kept : kept.div(kept.sum(-1, true)), chosen: chosen!, probabilities };
}

/**
 * `E Σ_i f_i P_i`, where `f_i` is expert i's share of the choices and `P_i` its mean probability (Fedus et al. 2021,
 * equation 4). 1 where all experts are used alike, E / k where the same k are used alone. The shares have no gradient;
 * the probabilities do, and are pushed down where the share is large.
 */
export function balancingLoss(chosen: Tensor, probabilities: Tensor, k: number): Tensor {
  const E = chosen.shape[1];
  return sum(chosen.mean(0).mul(probabilities.mean(0))).mul(E / k);
}

interface ExpertsShape {
  /** C */
  readonly hiddenSize: number;
  /** E */
  readonly numExperts: number;
  /** k */
  readonly numExpertsPerToken: number;
}

/** The layer: a router, and experts that are ordinary feed-forward layers. */
export class MixtureOfExperts {
  readonly router: Linear;
  readonly experts: readonly { forward(x: Tensor): Transformed }[];
  readonly k: number;

  /** @param createExpert makes the feed-forward layer that has its weights at a place in the tree of names */
  constructor(
    parameters: Parameters,
    { hiddenSize, numExperts, numExpertsPerToken }: ExpertsShape,
    createExpert: (parameters: Parameters) => { forward(x: Tensor): Transformed },
  ) {
    this.router = new Linear(parameters.at('router'), hiddenSize, numExperts, {
      init: { std: 0.02 },
      bias: false,
    });
    const experts = parameters.at('experts');
    this.experts = Array.from({ length: numExperts }, (_, i) => createExpert(experts.at(i)));
    this.k = numExpertsPerToken;
  }

  /** `[..., C]` to `[..., C]`. */
  forward(x: Tensor): Transformed {
    const rows = x.reshape([-1, x.shape[x.rank - 1]]); // [M, C]
    const { gates, chosen, probabilities } = route(this.router.forward(rows), this.k);
    const columns = split(
      gates,
      this.experts.map(() => 1),
      1,
    ); // [M, 1] each
    const output = this.experts
      .map((expert, i) => expert.forward(rows).output.mul(columns[i]))
      .reduce((total, each) => total.add(each));
    return { output: output.reshape(x.shape), balance: balancingLoss(chosen, probabilities, this.k) };
  }
}

/** How many of a model's weights each token goes through: all but those of the experts that it does not choose. */
export function countActiveParameters(
  specs: Readonly<Record<string, Pick<ParameterSpec, 'shape'>>>,
  { numExperts = 1, numExpertsPerToken = 1 }: Partial<ExpertsShape>,
): number {
  let active = 0;
  for (const [name, { shape }] of Object.entries(specs)) {
    const size = shape.reduce((product, length) => product * length, 1);
    active += name.includes('.experts.') ? (size * numExpertsPerToken) / numExperts : size;
  }
  return active;
}
