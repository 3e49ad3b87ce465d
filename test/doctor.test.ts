import { describe, expect, it } from 'vitest';
import { type Diagnosis, diagnose, findProblems } from '../src/cli/diagnosis.ts';
import { estimatePeak, largestGraph, peakOf, warnOfMemory } from '../src/cli/memory.ts';
import { PRESETS } from '../src/config.ts';
import { RECIPES } from '../src/recipes.ts';
import { STAGES } from '../src/stages/stage.ts';
import { trace } from '../src/tensor/index.ts';
import { withFolder } from './support/tiny.ts';

describe('the memory of a graph', () => {
  it('is the most that is alive at a time', () => {
    const graph = trace({ x: { dtype: 'float32', shape: [100] } }, ({ x }) => {
      const a = x.exp();
      const b = a.exp();
      const c = b.exp();
      return { y: c.add(b) };
    });
    // a is dropped when b is there, b lives beside c, and y is written into an array of the caller's.
    expect(peakOf(graph)).toBe(800);
  });

  it('falls with the micro-batch', () => {
    const recipe = RECIPES.small;
    const config = PRESETS.small;
    expect(largestGraph('pretrain', recipe, 256)).toEqual({ rows: 16, tokens: 256, isPart: false });
    expect(largestGraph('pretrain', recipe, 256, 2)).toEqual({ rows: 2, tokens: 256, isPart: true });
    expect(largestGraph('reward', recipe, 256, 2)).toEqual({ rows: 2, tokens: 256, isPart: true });
    const bytes = (microBatchSize?: number): number =>
      estimatePeak({ config, recipe, microBatchSize, stages: ['pretrain'] }).bytes;
    expect(bytes(8)).toBeLessThan(bytes());
    expect(bytes(1)).toBeLessThan(bytes(8));
    expect(bytes(16)).toBe(bytes());
  });

  it('is warned of where it is not free, with what would lower it', () => {
    const options = { config: PRESETS.nano, recipe: RECIPES.nano, stages: ['pretrain'] } as const;
    const { bytes } = estimatePeak(options);
    expect(warnOfMemory(options, bytes)).toBeUndefined();
    expect(warnOfMemory(options, bytes - 1)?.en).toMatch(
      /^Pretrain may need \d+\.\d GB of memory, and \d+\.\d GB are free; .* add --micro-batch-size 1 /,
    );
    // What cannot be cut into micro-batches, or is already.
    for (const other of [
      { ...options, stages: ['rlvf'] as const },
      { ...options, microBatchSize: 1 },
    ])
      expect(warnOfMemory(other, 1)?.en).toMatch(/ give a smaller --preset\.$/);
  });
});

describe('a diagnosis', () => {
  const healthy: Omit<Diagnosis, 'problems'> = {
    node: '22.0.0',
    onnxRuntime: '1.30.0',
    runtime: 'onnxruntime-node/cpu',
    threads: 1,
    cores: 2,
    gflops: 100,
    freeMemoryBytes: 8e9,
    folder: '/data/checkpoints',
    freeDiskBytes: 50e9,
    writable: true,
    presets: [
      {
        preset: 'mini',
        stageSeconds: { pretrain: 1, sft: 1, reward: 1, rlhf: 1, rlvf: 1 },
        seconds: 5,
        peakBytes: 1.4e9,
      },
    ],
  };

  it('finds nothing where all is right, and names the fix of each thing that is not', () => {
    expect(findProblems(healthy)).toEqual([]);
    const problems = findProblems({
      ...healthy,
      node: '18.2.0',
      runtime: 'onnxruntime-web',
      threads: 256,
      presets: [{ ...healthy.presets[0], memoryWarning: { zh: '内存不够。', en: 'Short of memory.' } }],
      freeDiskBytes: 1e8,
      writable: false,
    });
    expect(problems).toEqual([
      'Node 18.2.0 is too old; install 20.19 or later.',
      expect.stringMatching(/WebAssembly is slower; run npm install again/),
      expect.stringMatching(/--threads 256 is more than the \d+ cores .*give --threads \d+/),
      'mini: Short of memory.',
      expect.stringMatching(/^Only 0\.1 GB are free on the disk of \/data\/checkpoints; .*--out/),
      expect.stringMatching(/^\/data\/checkpoints cannot be written to; .*--out/),
    ]);
  });

  it('of this machine has figures for every preset and stage', async () => {
    await withFolder(async (out) => {
      const found = await diagnose({ out, threads: 1 });
      expect(found.writable).toBe(true);
      expect(found.gflops).toBeGreaterThan(0.01);
      expect(found.onnxRuntime).toMatch(/^\d+\.\d+/);
      expect(found.presets.map(({ preset }) => preset)).toEqual(Object.keys(PRESETS));
      for (const { stageSeconds, seconds, peakBytes } of found.presets) {
        expect(Object.keys(stageSeconds)).toEqual([...STAGES]);
        expect(Object.values(stageSeconds).every((each) => each > 0)).toBe(true);
        expect(seconds).toBeGreaterThan(Math.max(...Object.values(stageSeconds)));
        expect(peakBytes).toBeGreaterThan(2e8);
      }
      const [nano, mini, small] = found.presets.map(({ peakBytes }) => peakBytes);
      expect(nano).toBeLessThan(mini);
      expect(mini).toBeLessThan(small);
    });
  });
});
