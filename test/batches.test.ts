import { describe, expect, it } from 'vitest';
import { epochOrder, planBatches } from '../src/data/batches.ts';
import { fc } from './support/property.ts';

const sorted = (rows: readonly number[]): number[] => [...rows].sort((a, b) => a - b);

describe('epochOrder', () => {
  it('holds every row once, in an order of its own for each epoch and seed', () => {
    const order = epochOrder(50, 1, 0);
    expect(sorted(order)).toEqual([...Array(50).keys()]);
    expect(epochOrder(50, 1, 0)).toEqual(order);
    expect(epochOrder(50, 1, 1)).not.toEqual(order);
    expect(epochOrder(50, 2, 0)).not.toEqual(order);
  });
});

describe('planBatches', () => {
  const sizes = fc.record({
    rowCount: fc.integer({ min: 1, max: 60 }),
    batchSize: fc.integer({ min: 1, max: 20 }),
  });

  it('reads an epoch in its order, full batches only, and the next one in another', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 4 }), ({ rowCount, batchSize }, epochs) => {
        fc.pre(rowCount >= batchSize);
        const readEpoch = (epoch: number) => ({ rows: epochOrder(rowCount, 1, epoch) });
        const { totalSteps, at } = planBatches(readEpoch, { epochs, batchSize });
        const stepsPerEpoch = Math.floor(rowCount / batchSize);
        expect(totalSteps).toBe(stepsPerEpoch * epochs);
        for (let epoch = 0; epoch < epochs; epoch++) {
          const batches = Array.from({ length: stepsPerEpoch }, (_, i) => at(epoch * stepsPerEpoch + i));
          expect(batches.every((batch) => batch.epoch === epoch)).toBe(true);
          expect(batches.flatMap(({ rows }) => rows)).toEqual(
            readEpoch(epoch).rows.slice(0, stepsPerEpoch * batchSize),
          );
        }
      }),
    );
  });

  it('fills a batch from the beginning where an epoch has too few rows', () => {
    fc.assert(
      fc.property(sizes, ({ rowCount, batchSize }) => {
        fc.pre(rowCount < batchSize);
        const { totalSteps, at } = planBatches(() => ({ rows: [...Array(rowCount).keys()] }), {
          epochs: 3,
          batchSize,
        });
        expect(totalSteps).toBe(3);
        expect(at(2).rows).toEqual(Array.from({ length: batchSize }, (_, i) => i % rowCount));
      }),
    );
    // The first epoch sets the number of steps; a shorter one later begins again.
    const shrinking = planBatches((epoch) => ({ rows: epoch === 0 ? [0, 1, 2, 3] : [4, 5, 6] }), {
      epochs: 2,
      batchSize: 2,
    });
    expect([2, 3].map((step) => shrinking.at(step).rows)).toEqual([
      [4, 5],
      [6, 4],
    ]);
  });

  it('gives the batch of any step without those before it, and reads no epoch twice in a row', () => {
    const read: number[] = [];
    const readEpoch = (epoch: number) => {
      read.push(epoch);
      return { text: `epoch ${epoch}`, rows: epochOrder(40, 1, epoch) };
    };
    const options = { epochs: 3, batchSize: 8 };
    const walked = planBatches(readEpoch, options);
    const all = Array.from({ length: walked.totalSteps }, (_, step) => walked.at(step));
    expect(read).toEqual([0, 1, 2]);
    expect(planBatches(readEpoch, options).at(11)).toEqual(all[11]);
    expect(all[11].text).toBe('epoch 2');
  });
});
