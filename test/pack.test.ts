import { describe, expect, it } from 'vitest';
import type { Rendered } from '../src/chat-format.ts';
import { countRows, cutRows, packConversations, packDocuments } from '../src/data/pack.ts';
import { stackRows } from '../src/data/rows.ts';
import { UserError } from '../src/errors.ts';
import { fc } from './support/property.ts';

const EOS = 3;

describe('packDocuments', () => {
  it('puts the separator after every document', () => {
    const stream = packDocuments([Int32Array.of(10, 11), Int32Array.of(), Int32Array.of(12)], {
      contextLength: 2,
      separator: EOS,
    });
    expect([...stream]).toEqual([10, 11, EOS, EOS, 12, EOS]);
  });

  it('refuses a text that is too short for one row', () => {
    const options = { contextLength: 3, separator: EOS };
    expect(packDocuments([Int32Array.of(10, 11, 12)], options)).toHaveLength(4);
    expect(() => packDocuments([Int32Array.of(10, 11)], options)).toThrow(UserError);
    expect(() => packDocuments([], options)).toThrow(UserError);
  });
});

describe('cutRows', () => {
  it('makes every token but the first a target exactly once, except in the last partial row', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 9, max: 300 }),
        fc.integer({ min: 1, max: 8 }),
        (length, contextLength) => {
          const stream = Int32Array.from({ length }, (_, i) => i);
          const rowCount = countRows(length, contextLength);
          const { ids, targets } = cutRows(stream, { contextLength, rows: [...Array(rowCount).keys()] });
          expect([...targets]).toEqual([...stream.slice(1, 1 + rowCount * contextLength)]);
          expect([...ids]).toEqual([...targets].map((target) => target - 1));
          expect(length - 1 - targets.length).toBeLessThan(contextLength);
        },
      ),
    );
  });
});

/** A conversation of tokens `first, first + 1, ...` with a given mask. */
function conversation(first: number, mask: readonly number[]): Rendered {
  return { ids: Int32Array.from(mask, (_, i) => first + i), mask: Uint8Array.from(mask) };
}

describe('packConversations', () => {
  it('packs two conversations into a row, apart from each other', () => {
    const { rows, report } = packConversations(
      [conversation(10, [0, 0, 1, 1, 0]), conversation(20, [0, 1])],
      { contextLength: 6 },
    );
    expect(rows).toEqual([
      {
        ids: Int32Array.of(10, 11, 12, 20, 0, 0),
        targets: Int32Array.of(11, 12, 13, 21, 0, 0),
        lossMask: Float32Array.of(0, 1, 1, 1, 0, 0),
        positions: Int32Array.of(0, 1, 2, 0, 0, 0),
        segments: Int32Array.of(1, 1, 1, 2, 0, 0),
      },
    ]);
    expect(report).toEqual({
      conversations: 2,
      packed: 2,
      tooLong: 0,
      fullyMasked: 0,
      cut: [],
      skipped: [],
      rows: 1,
      trainedTokens: 3,
      fill: 4 / 6,
    });
  });

  it('cuts what is too long, and skips and reports what teaches nothing', () => {
    const { rows, report } = packConversations(
      [
        conversation(10, [0, 1, 1, 1, 1, 1, 1]), // cut
        conversation(20, [0, 0, 0, 0, 0, 0, 1]), // the answer begins after the context
        conversation(30, [0, 0, 0]), // no answer
        conversation(40, []), // nothing at all
        conversation(50, [1]), // nothing before the only token
        conversation(60, [0, 1, 1, 0, 0, 0, 0, 0]), // only its end is too long, and that is not needed
      ],
      { contextLength: 4 },
    );
    expect(report).toMatchObject({ packed: 2, tooLong: 2, fullyMasked: 3, cut: [0], skipped: [1, 2, 3, 4] });
    expect(rows.map((row) => [...row.targets])).toEqual([
      [11, 12, 13, 14],
      [61, 62, 0, 0],
    ]);
  });

  it('gives no rows, and no NaN, for nothing to learn', () => {
    const { rows, report } = packConversations([conversation(1, [0, 0])], { contextLength: 4 });
    expect(rows).toEqual([]);
    expect(report.fill).toBe(0);
    expect(report.trainedTokens).toBe(0);
  });

  const conversations = fc.array(fc.array(fc.constantFrom<number>(0, 1), { maxLength: 20 }), {
    maxLength: 30,
  });

  it('keeps every conversation whole, once, and apart', () => {
    fc.assert(
      fc.property(conversations, (masks) => {
        const contextLength = 12;
        const rendered = masks.map((mask, i) => conversation(100 * (i + 1), mask));
        const { rows, report } = packConversations(rendered, { contextLength });
        const found = new Map<number, number>();
        for (const { ids, targets, lossMask, positions, segments } of rows) {
          expect(lossMask.some((value) => value === 1)).toBe(true);
          for (let t = 0; t < contextLength; t++) {
            if (segments[t] === 0) {
              expect([ids[t], targets[t], lossMask[t], positions[t]]).toEqual([0, 0, 0, 0]);
              expect([...segments.slice(t)].every((segment) => segment === 0)).toBe(true);
              break;
            }
            const index = Math.floor(ids[t] / 100) - 1;
            expect(positions[t]).toBe(ids[t] % 100);
            expect(targets[t]).toBe(ids[t] + 1);
            expect(lossMask[t]).toBe(masks[index][positions[t] + 1]);
            expect(positions[t] === 0).toBe(t === 0 || segments[t] !== segments[t - 1]);
            found.set(index, (found.get(index) ?? 0) + lossMask[t]);
          }
        }
        masks.forEach((mask, index) => {
          const wanted = mask.slice(1, contextLength + 1).reduce((a, b) => a + b, 0);
          expect([index, found.get(index) ?? 0]).toEqual([index, wanted]);
          expect(report.skipped.includes(index)).toBe(wanted === 0);
        });
        expect(report.packed + report.skipped.length).toBe(masks.length);
      }),
    );
  });

  it('wastes little', () => {
    const rendered = Array.from({ length: 200 }, (_, i) =>
      conversation(0, [0, ...Array(5 + ((i * 7) % 40)).fill(1)]),
    );
    expect(packConversations(rendered, { contextLength: 64 }).report.fill).toBeGreaterThan(0.95);
  });

  it('stacks rows into a batch', () => {
    const { rows } = packConversations([conversation(10, [0, 1, 1]), conversation(20, [0, 1, 1])], {
      contextLength: 3,
    });
    expect(stackRows(rows)).toEqual({
      ids: Int32Array.of(10, 11, 0, 20, 21, 0),
      targets: Int32Array.of(11, 12, 0, 21, 22, 0),
      lossMask: Float32Array.of(1, 1, 0, 1, 1, 0),
      positions: Int32Array.of(0, 1, 0, 0, 1, 0),
      segments: Int32Array.of(1, 1, 0, 1, 1, 0),
    });
  });
});
