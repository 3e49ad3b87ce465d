/**
 * @file Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): AdamW scales every weight by itself, Muon
 * takes a matrix as a whole. It keeps the singular vectors of the momentum and sets all singular values to about 1, so
 * that directions which the gradient seldom takes are learned as fast as those that it always takes.
 *
 *     npm run train -- --optimizer muon        (pretraining and SFT)
 *
 * It is for the matrices inside the blocks; embeddings, norms and biases stay with AdamW (`optimizer.ts`). Updates are as
 * large as AdamW's (Liu et al. 2025, "Muon is Scalable for LLM Training"), so both share learning rate and weight decay.
 */

import { arange, concat, equal, matmul, scalar, split, sqrt, type Tensor, where } from '../tensor/index.ts';

/** The weights that Muon updates, by name, each with the widths of the matrices that stand side by side in it. */
export type MuonMatrices = Readonly<Record<string, readonly number[]>>;

/** Share of the momentum that is left after a step. */
const MOMENTUM = 0.95;
/** a, b, c of `a x + b x³ + c x⁵`, chosen so that small singular values grow fast; what it ends with is only near 1. */
const QUINTIC = [3.4445, -4.775, 2.0315] as const;
const ITERATIONS = 5;
/** Root mean square of an AdamW update over its learning rate, as measured in training (Liu et al. 2025, section 2.2). */
const ADAMW_RMS = 0.2;

/** From this ratio of the sides on, iterating on the product of the short one with itself takes fewer operations. */
const LONG = 1.5;

/**
 * The matrix with the same singular vectors and all singular values brought near 1 (to between about 0.7 and 1.2, unless
 * they were tiny), by Newton-Schulz iterations instead of a decomposition: with `X = U S Vᵀ`,
 * `(a I + b A + c A²) X` for `A = X Xᵀ` is `U (a S + b S³ + c S⁵) Vᵀ`.
 *
 * @param matrix `[M, N]`
 */
export function orthogonalize(matrix: Tensor): Tensor {
  const [a] = QUINTIC;
  const [rows, columns] = matrix.shape;
  // The smaller of X Xᵀ and Xᵀ X is A; it stands on the other side of X where X is tall.
  const isTall = rows > columns;
  const squareOf = (x: Tensor): Tensor => matmul(x, x, isTall ? { transposeA: true } : { transposeB: true });
  const times = (factor: Tensor, x: Tensor): Tensor => (isTall ? matmul(x, factor) : matmul(factor, x));

  // The Frobenius norm is no less than the largest singular value: afterwards all are at most 1.
  let x = matrix.div(sqrt(matrix.mul(matrix).sum()).add(1e-7));
  if (isLong(rows, columns)) return times(factorFor(squareOf(x)), x);
  for (let i = 0; i < ITERATIONS; i++) x = x.mul(a).add(times(higherTerms(squareOf(x)), x));
  return x;
}

/** `b A + c A²` */
function higherTerms(square: Tensor): Tensor {
  const [, b, c] = QUINTIC;
  return square.mul(b).add(matmul(square, square, { scale: c }));
}

/**
 * What all iterations together multiply X by, from `A = X Xᵀ` alone: the polynomials of A commute, so where X becomes
 * `P X`, A becomes `P P A`, and the long X is needed but twice.
 */
function factorFor(first: Tensor): Tensor {
  const [a] = QUINTIC;
  const [size] = first.shape;
  const onDiagonal = equal(arange(size).reshape([size, 1]), arange(size).reshape([1, size]));
  const polynomialOf = (square: Tensor): Tensor => where(onDiagonal, a, 0).add(higherTerms(square));
  let square = first;
  let polynomial = polynomialOf(square);
  let factor = polynomial;
  for (let i = 1; i < ITERATIONS; i++) {
    square = matmul(polynomial, matmul(polynomial, square));
    polynomial = polynomialOf(square);
    factor = matmul(polynomial, factor);
  }
  return factor;
}

function isLong(rows: number, columns: number): boolean {
  return Math.max(rows, columns) > LONG * Math.min(rows, columns);
}

/** Floating-point operations of the products in `orthogonalize`, for every matrix of a weight `[rows, ...widths]`. */
export function orthogonalizeOperations(rows: number, widths: readonly number[]): number {
  const operations = widths.map((columns) => {
    const [short, long] = [Math.min(rows, columns), Math.max(rows, columns)];
    return isLong(rows, columns)
      ? 4 * short ** 2 * long + 2 * short ** 3 * (4 * ITERATIONS - 3)
      : ITERATIONS * (4 * short ** 2 * long + 2 * short ** 3);
  });
  return operations.reduce((a, b) => a + b);
}

/**
 * One step for a weight, with `g` the clipped gradient and `O` orthogonalisation:
 *
 *     M ← μ M + g        W ← W - lr ( 0.2 √max(rows, columns) O(g + μ M) + λ W )
 *
 * `g + μ M` is Nesterov's look ahead. An orthogonal `[R, C]` matrix has a root mean square of 1 / √max(R, C), hence the
 * factor.
 *
 * @param state.parameter `[M, N]`; `state.momentum` likewise
 * @param options.widths columns of each matrix in the weight: each is orthogonalised by itself
 */
export function muon(
  { parameter, momentum }: { readonly parameter: Tensor; readonly momentum: Tensor },
  gradient: Tensor,
  scalars: { readonly learningRate: Tensor; readonly coefficient: Tensor },
  { widths, weightDecay }: { readonly widths: readonly number[]; readonly weightDecay: number },
): { parameter: Tensor; momentum: Tensor } {
  const { learningRate, coefficient } = scalars;
  const clipped = gradient.mul(coefficient);
  const next = momentum.mul(MOMENTUM).add(clipped);
  const ahead = clipped.add(next.mul(MOMENTUM));
  const matrices = widths.length === 1 ? [ahead] : split(ahead, widths, 1);
  const updates = matrices.map((matrix) =>
    orthogonalize(matrix).mul(learningRate.mul(ADAMW_RMS * Math.sqrt(Math.max(...matrix.shape)))),
  );
  const kept = parameter.mul(scalar(1).sub(learningRate.mul(weightDecay)));
  return { parameter: kept.sub(concat(updates, 1)), momentum: next };
}
