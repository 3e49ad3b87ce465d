import { expect, test } from 'vitest';
import { hashText, splitHeldOut } from '../src/data/split.ts';
import { fc } from './support/property.ts';

const split = (records: readonly string[], fraction = 0.1) =>
  splitHeldOut(records, { fraction, key: (each) => each });
const records = fc.array(fc.string({ unit: 'grapheme', maxLength: 5 }), { maxLength: 40 });
const fractions = fc.double({ min: 0.01, max: 0.9, noNaN: true });

test('the hash is the same forever', () => {
  expect([hashText(''), hashText('你好'), hashText('a')]).toEqual([2872998923, 1022202765, 444641715]);
});

test('every record is on exactly one side, equal ones on the same, in order', () => {
  fc.assert(
    fc.property(records, fractions, (list, fraction) => {
      const { train, heldOut } = split(list, fraction);
      expect([...train, ...heldOut].sort()).toEqual([...list].sort());
      const held = new Set(heldOut);
      expect(list.filter((each) => held.has(each))).toEqual(heldOut);
      if (new Set(list).size >= 2) {
        expect(heldOut.length).toBeGreaterThan(0);
        expect(train.length).toBeGreaterThan(0);
      }
    }),
  );
});

test('order, repetition and other records do not matter', () => {
  const many = Array.from({ length: 2000 }, (_, index) => `记录 ${index}`);
  const { train, heldOut } = split(many);
  expect(heldOut.length).toBeGreaterThan(150);
  expect(heldOut.length).toBeLessThan(250);
  expect(split([...many].reverse().concat(many.slice(0, 9))).heldOut.sort()).toEqual(
    heldOut.concat(heldOut.filter((each) => many.indexOf(each) < 9)).sort(),
  );
  const fewer = many.filter((_, index) => index % 7 !== 0);
  expect(split([...fewer, 'another']).heldOut.filter((each) => train.includes(each))).toEqual([]);
});

test('edges', () => {
  expect(split([])).toEqual({ train: [], heldOut: [] });
  expect(split(['a'])).toEqual({ train: ['a'], heldOut: [] });
  expect(split(['a', 'a'])).toEqual({ train: ['a', 'a'], heldOut: [] });
  expect(split(['a', 'b'], 0)).toEqual({ train: ['a', 'b'], heldOut: [] });
  expect(split(['a', 'b'], 0.001).heldOut).toHaveLength(1);
  expect(split(['a', 'b'], 0.999).train).toHaveLength(1);
  expect(() => split(['a'], 1)).toThrow('fraction');
  expect(() => split(['a'], Number.NaN)).toThrow('fraction');
});
