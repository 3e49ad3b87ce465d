/** @file Equations with one unknown: the final number counts, and the unknown has one value only. */

import { expectedNumber, finalQuantity, findNumbers, normalizeNumbers } from './final-number.ts';
import { createVerifier, type Verifier } from './verifier.ts';

/**
 * `x=8`, `x 是 8`, `x1=8`, where the unknown stands alone on its side: not in 7+x=15, 3x=12 or x=15-7. What it must
 * stand alone from is looked for a few characters back, so that long answers cost no more.
 */
const SOLUTION = /(?<![-+*/×÷\d)]\s?)[xX□]\d?\s*(?:=|等于|是|为)\s*(-?\d+(?:\.\d+)?)(?![\d.]|\s*[-+*/×÷])/g;

/** A text whose last number is the right side of an equation still to be solved: 14-x=7, 3x=12, x+7=15. */
const UNSOLVED =
  /(?:\d(?:\s?[-+*/×÷]\s?)?[xX□]|[xX□]\s?[-+*/×÷]\s?\d{1,9})\s?=\s?-?\d{1,9}(?:\.\d{1,9})?\D{0,9}$/;

/** Whether the unknown is given two values, as in "x=3，x=5" or "x1=3，x2=5". */
function givesTwoValues(text: string): boolean {
  const values = [...text.matchAll(SOLUTION)].map(([, value]) => findNumbers(value)[0].value);
  return new Set(values).size > 1;
}

/**
 * Right if the final number is the solution: "8", "x=8", "x=15-7=8。". Wrong if the unknown is given two values, or if the
 * number belongs to an equation that is only told again.
 */
export const equationVerifier: Verifier = createVerifier('equation', (answer, expected) => {
  const value = expectedNumber('equation', expected);
  const text = normalizeNumbers(answer);
  return finalQuantity(answer)?.value === value && !UNSOLVED.test(text) && !givesTwoValues(text);
});
