/** @file Random numbers inside a graph, for dropout. */

import { sizeOf } from '../ndarray.ts';
import { apply, definePrimitive, type Primitive } from '../primitive.ts';
import { mix32 } from '../random.ts';
import type { Tensor } from '../tensor.ts';
import { indexArray } from './samples.ts';

interface BernoulliAttributes {
  readonly shape: readonly number[];
  readonly probability: number;
}

/** From how many places of the tape a stretch may begin: a power of two. */
const PLACES = 2 ** 20;

/** The tape of each probability and length that has been asked for last. */
const tapes = new Map<string, Uint8Array>();

/** Flips enough for a stretch of `length` from any place. */
function tapeFor({ shape, probability }: BernoulliAttributes): Uint8Array {
  const length = sizeOf(shape) + PLACES;
  const key = `${probability}|${length}`;
  let tape = tapes.get(key);
  if (!tape) {
    tape = new Uint8Array(length);
    for (let i = 0; i < length; i++) tape[i] = mix32(i) < probability * 2 ** 32 ? 1 : 0;
    tapes.set(key, tape);
  }
  return tape;
}

/**
 * Coin flips, bool: each 1 with the given probability. They are a stretch of a tape that is as old as the graph; the
 * int32 scalar `key` decides where the stretch begins, so that each step of a graph that is built once flips anew.
 *
 * Hashing (key, position) for every flip would cost about seventeen passes over memory in ordinary operators, more than
 * the layer whose activations are dropped; a stretch costs one, of a byte a flip.
 */
export const bernoulliPrimitive: Primitive<BernoulliAttributes> = definePrimitive<BernoulliAttributes>({
  name: 'bernoulli',
  shape: (_, { shape }) => [{ dtype: 'bool', shape }],
  reference([key], attributes) {
    const start = mix32(Number(key.data[0])) % PLACES;
    return [tapeFor(attributes).slice(start, start + sizeOf(attributes.shape))];
  },
  onnx(builder, [key], attributes) {
    // `mix32` in int64, which every runtime has: keep the low 32 bits after each step.
    const int64 = (value: number): string => builder.ints([value]);
    const low32 = (x: string): string => builder.node('BitwiseAnd', [x, int64(0xffffffff)])[0];
    const multiply = (x: string, factor: number): string => low32(builder.node('Mul', [x, int64(factor)])[0]);
    const foldDown = (x: string, bits: number): string =>
      builder.node('BitwiseXor', [x, builder.node('Div', [x, int64(2 ** bits)])[0]])[0];
    const [wide] = builder.node('Cast', [key], { to: builder.elementType('int64') });
    const [seed] = builder.node('Reshape', [low32(wide), builder.ints([1])]);
    const mixed = foldDown(multiply(foldDown(multiply(foldDown(seed, 16), 0x7feb352d), 15), 0x846ca68b), 16);
    const [start] = builder.node('BitwiseAnd', [mixed, int64(PLACES - 1)]);
    const [end] = builder.node('Add', [start, int64(sizeOf(attributes.shape))]);
    const data = tapeFor(attributes);
    const tape = builder.constant({ dtype: 'bool', shape: [data.length], data });
    const [stretch] = builder.node('Slice', [tape, start, end]);
    return builder.node('Reshape', [stretch, builder.ints(attributes.shape)]);
  },
  samples: () => [
    { inputs: [indexArray([12345], [])], attributes: { shape: [4, 5], probability: 0.5 } },
    { inputs: [indexArray([-7], [])], attributes: { shape: [30], probability: 0.9 } },
  ],
});

/** Coin flips, 1 with the given probability, from an int32 scalar key. */
export const bernoulli = (key: Tensor, shape: readonly number[], probability: number): Tensor =>
  apply(bernoulliPrimitive, [key], { shape, probability });
