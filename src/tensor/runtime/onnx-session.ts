/** @file Runs graphs on ONNX Runtime: the same code for native CPU kernels (Node) and WebAssembly or WebGPU (browser). */

import type {
  InferenceSession,
  InferenceSessionFactory,
  Tensor as OrtTensor,
  TensorConstructor,
} from 'onnxruntime-common';
import type { DType, NdArray, TypedArray } from '../ndarray.ts';
import type { Graph } from '../trace.ts';
import { checkFeeds } from './feeds.ts';
import { outputName, toOnnx } from './onnx-model.ts';

/** The part of `onnxruntime-node` and `onnxruntime-web` that is used. */
export interface OrtModule {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor;
}

/** A graph that is ready to run. */
export interface Executable {
  readonly graph: Graph;
  /**
   * Run on inputs. Arrays given in `into` receive the outputs of the same names in place where the runtime can
   * (native does, WebAssembly copies); they must not share storage with the inputs.
   */
  run(
    feeds: Readonly<Record<string, NdArray>>,
    into?: Readonly<Record<string, NdArray>>,
  ): Promise<Record<string, NdArray>>;
  /** Give the memory back. */
  release(): Promise<void>;
}

/** Something that makes graphs executable. */
export interface Runtime {
  readonly name: string;
  compile(graph: Graph): Promise<Executable>;
}

/** A runtime over an ONNX Runtime module. */
export function createOnnxRuntime(
  ort: OrtModule,
  options: {
    readonly name: string;
    readonly session: InferenceSession.SessionOptions;
    /** Whether the module writes outputs into the arrays it is given; WebAssembly returns new ones instead. */
    readonly writesInPlace: boolean;
  },
): Runtime {
  return {
    name: options.name,
    async compile(graph) {
      const { model, external } = toOnnx(graph);
      const session = await ort.InferenceSession.create(model, {
        ...options.session,
        externalData: external,
      });
      const wrap = ({ dtype, data, shape }: NdArray): OrtTensor =>
        new ort.Tensor(dtype as 'float32', data as Float32Array, shape);
      const outputNames = Object.keys(graph.outputs);
      return {
        graph,
        async run(feeds, into = {}) {
          checkFeeds(graph, feeds);
          const inputs: Record<string, OrtTensor> = {};
          // Inputs that the outputs turned out not to depend on were dropped from the model.
          for (const name of session.inputNames) inputs[name] = wrap(feeds[name]);
          const fetches: Record<string, OrtTensor | null> = {};
          for (const name of outputNames)
            fetches[outputName(graph, name)] = into[name] ? wrap(into[name]) : null;
          const results = await session.run(inputs, fetches);
          const outputs: Record<string, NdArray> = {};
          for (const name of outputNames) {
            const result = results[outputName(graph, name)];
            const data = result.data as TypedArray;
            const target = into[name];
            if (target && !options.writesInPlace) target.data.set(data as never);
            outputs[name] = target ?? { dtype: result.type as DType, shape: result.dims, data };
          }
          return outputs;
        },
        release: () => session.release(),
      };
    },
  };
}
