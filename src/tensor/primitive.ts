/**
 * @file The contract of a primitive operation: shape rule, reference, gradient and ONNX lowering in one object.
 *
 * Everything that the system computes is a composition of primitives. A primitive is whole in one place, and
 * `test/primitives.test.ts` checks every one of them on its own samples, so adding one touches one file.
 */

import type { DType, NdArray, Shape, TypedArray } from './ndarray.ts';
import type { OnnxBuilder } from './runtime/onnx-model.ts';
import { Tensor } from './tensor.ts';

/** What is known of a tensor before it is computed. */
export interface Spec {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Inputs on which a primitive is tested. */
export interface Sample<A> {
  readonly inputs: readonly NdArray[];
  readonly attributes: A;
}

/** What a gradient rule may look at. */
export interface GradientContext<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attributes: A;
}

/** One operation of the tensor language; `A` is the type of its attributes (constants fixed when the graph is built). */
export interface Primitive<A> {
  readonly name: string;
  /** Shapes and types of the outputs. Throws a RangeError when the inputs do not fit together. */
  shape(inputs: readonly Spec[], attributes: A): readonly Spec[];
  /** The definition, in plain loops: storage of every output. */
  reference(inputs: readonly NdArray[], attributes: A, outputs: readonly Spec[]): readonly TypedArray[];
  /**
   * Vector-Jacobian product: the gradient of each input, given that of each output (undefined where the output is
   * unused). A gradient may keep the broadcast shape of the output: `gradients` sums it back to the input's shape.
   * Absent when the primitive has no derivative (comparisons, indices).
   */
  vjp?(
    cotangents: readonly (Tensor | undefined)[],
    context: GradientContext<A>,
  ): readonly (Tensor | undefined)[];
  /** Emit ONNX nodes; returns the name of each output. */
  onnx(
    builder: OnnxBuilder,
    inputs: readonly string[],
    attributes: A,
    specs: { readonly inputs: readonly Spec[]; readonly outputs: readonly Spec[] },
  ): readonly string[];
  /** Inputs that exercise the primitive, for the generic test. At least one. */
  samples(): readonly Sample<A>[];
}

/** One application of a primitive in a traced graph. */
export interface GraphNode {
  readonly primitive: Primitive<unknown>;
  readonly attributes: unknown;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** Fixes the attribute type of a primitive literal. */
export function definePrimitive<A = undefined>(primitive: Primitive<A>): Primitive<A> {
  return primitive;
}

/**
 * Apply a primitive. Concrete inputs are computed at once by the reference; when any input is symbolic (inside a
 * trace) the result is a new node of the graph.
 */
export function applyAll<A>(
  primitive: Primitive<A>,
  inputs: readonly Tensor[],
  attributes: A,
): readonly Tensor[] {
  const specs = primitive.shape(inputs, attributes);
  if (inputs.every((input) => input.isConcrete)) {
    const data = primitive.reference(
      inputs.map((input) => input.value),
      attributes,
      specs,
    );
    return specs.map((spec, i) => new Tensor(spec, { data: data[i] }));
  }
  const outputs: Tensor[] = [];
  const node: GraphNode = { primitive: primitive as Primitive<unknown>, attributes, inputs, outputs };
  for (const spec of specs) outputs.push(new Tensor(spec, { node }));
  return outputs;
}

/** `applyAll` for the usual primitive with one output. */
export function apply<A>(primitive: Primitive<A>, inputs: readonly Tensor[], attributes: A): Tensor {
  return applyAll(primitive, inputs, attributes)[0];
}
