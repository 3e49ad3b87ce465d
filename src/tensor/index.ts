/** @file The tensor language, in one import. */

export * from './grad.ts';
export * from './ndarray.ts';
export type { GraphNode, Spec } from './primitive.ts';
export * from './primitives/elementwise.ts';
export * from './primitives/fused.ts';
export * from './primitives/index-ops.ts';
export * from './primitives/matmul.ts';
export * from './primitives/movement.ts';
export * from './primitives/quantized.ts';
export * from './primitives/random.ts';
export * from './primitives/reduce.ts';
export * from './random.ts';
export type { Executable, Runtime } from './runtime/onnx-session.ts';
export { interpret } from './runtime/reference.ts';
export * from './tensor.ts';
export * from './trace.ts';
