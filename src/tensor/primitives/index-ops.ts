/** @file Primitives that look elements up by position, and their inverse, which adds into positions. */

import { allocate, type NdArray, sizeOf } from '../ndarray.ts';
import { apply, definePrimitive, type Primitive } from '../primitive.ts';
import { aroundAxis, normalizeAxis } from '../shape.ts';
import { full, type Tensor } from '../tensor.ts';
import { broadcastTo, reshape } from './movement.ts';
import { indexArray, sampleArray } from './samples.ts';

/** Throws when an index points outside an axis; ONNX Runtime would fail with a message of its own. */
function checkIndex(index: number, length: number, name: string): number {
  if (!(index >= 0 && index < length))
    throw new RangeError(`${name}: index ${index} is outside 0..${length - 1}`);
  return index;
}

/** Rows of a table `[N, ...]` at int32 positions of any shape: `out[i..., ...] = table[indices[i...], ...]`. */
export const gatherPrimitive: Primitive<undefined> = definePrimitive({
  name: 'gather',
  shape: ([table, indices]) => [{ dtype: table.dtype, shape: [...indices.shape, ...table.shape.slice(1)] }],
  reference([table, indices], _, [out]) {
    const row = sizeOf(table.shape.slice(1));
    const result = allocate(out.dtype, sizeOf(out.shape));
    for (let i = 0; i < indices.data.length; i++) {
      const from = checkIndex(Number(indices.data[i]), table.shape[0], 'gather') * row;
      result.set(table.data.subarray(from, from + row) as never, i * row);
    }
    return [result];
  },
  vjp([g], { inputs: [table, indices] }) {
    if (!g) return [];
    const row = sizeOf(table.shape.slice(1));
    const rows = indices.size;
    const positions = broadcastTo(reshape(indices, [rows, 1]), [rows, row]);
    const total = scatterAdd(full([table.shape[0], row], 0), positions, reshape(g, [rows, row]), 0);
    return [reshape(total, table.shape), undefined];
  },
  onnx: (builder, inputs) => builder.node('Gather', inputs, { axis: 0 }),
  samples: () => [
    { inputs: [sampleArray([5, 3], [-2, 2], 1), indexArray([4, 0, 0, 2], [2, 2])], attributes: undefined },
    { inputs: [sampleArray([4], [-2, 2], 2), indexArray([3, 1])], attributes: undefined },
  ],
});

interface AxisAttributes {
  readonly axis: number;
}

/** Visit (position in `indices`, position in the array indexed along `axis`). */
function forEachIndexed(
  indices: NdArray,
  length: number,
  axis: number,
  visit: (i: number, j: number) => void,
): void {
  const { outer, length: count, inner } = aroundAxis(indices.shape, axis);
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < count; k++) {
      for (let i = 0; i < inner; i++) {
        const at = (o * count + k) * inner + i;
        const index = checkIndex(Number(indices.data[at]), length, 'index');
        visit(at, (o * length + index) * inner + i);
      }
    }
  }
}

/** One element per position: `out[i][j] = x[i][indices[i][j]]` for axis 1; other axes must agree in length. */
export const gatherElementsPrimitive: Primitive<AxisAttributes> = definePrimitive<AxisAttributes>({
  name: 'gatherElements',
  shape: ([x, indices]) => [{ dtype: x.dtype, shape: indices.shape }],
  reference([x, indices], { axis }, [out]) {
    const result = allocate(out.dtype, sizeOf(out.shape));
    forEachIndexed(indices, x.shape[axis], axis, (at, from) => {
      result[at] = x.data[from];
    });
    return [result];
  },
  vjp: ([g], { inputs: [x, indices], attributes: { axis } }) => [
    g && scatterAdd(full(x.shape, 0), indices, g, axis),
    undefined,
  ],
  onnx: (builder, inputs, { axis }) => builder.node('GatherElements', inputs, { axis }),
  samples: () => [
    {
      inputs: [sampleArray([2, 4], [-2, 2], 1), indexArray([3, 0, 1, 1, 2, 2], [2, 3])],
      attributes: { axis: 1 },
    },
  ],
});

/** Add `updates` into a copy of `x` at positions along an axis; repeated positions add up. */
export const scatterAddPrimitive: Primitive<AxisAttributes> = definePrimitive<AxisAttributes>({
  name: 'scatterAdd',
  shape: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
  reference([x, indices, updates], { axis }) {
    const result = Float32Array.from(x.data as Float32Array);
    forEachIndexed(indices, x.shape[axis], axis, (at, to) => {
      result[to] += Number(updates.data[at]);
    });
    return [result];
  },
  vjp: ([g], { inputs: [, indices], attributes: { axis } }) => [
    g,
    undefined,
    g && gatherElements(g, indices, axis),
  ],
  // ScatterND with a reduction races between threads on the CPU; ScatterElements does not.
  onnx: (builder, inputs, { axis }) => builder.node('ScatterElements', inputs, { axis, reduction: 'add' }),
  samples: () => [
    {
      inputs: [
        sampleArray([3, 2], [-2, 2], 1),
        indexArray([2, 0, 2, 1, 0, 0, 2, 1], [4, 2]),
        sampleArray([4, 2], [-2, 2], 2),
      ],
      attributes: { axis: 0 },
    },
  ],
});

/** Rows of a table at int32 positions: an embedding look-up. */
export const gather = (table: Tensor, indices: Tensor): Tensor =>
  apply(gatherPrimitive, [table, indices], undefined);

/** One element per int32 position along an axis. */
export function gatherElements(x: Tensor, indices: Tensor, axis: number): Tensor {
  return apply(gatherElementsPrimitive, [x, indices], { axis: normalizeAxis(axis, x.rank) });
}

/** `x` with `updates` added at int32 positions along an axis. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor {
  return apply(scatterAddPrimitive, [x, indices, updates], { axis: normalizeAxis(axis, x.rank) });
}
