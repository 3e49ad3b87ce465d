/** @file Sums as plain text, one a line: `8+12=20` asks `8+12=` and is answered `20`. */

import { noRecords, problem } from '../records.ts';

/** A sum as a question with its answer. */
export interface Equation {
  /** What stands before the result, with the `=`. */
  readonly question: string;
  readonly result: string;
}

const EQUATION = /^([-\d.\s+−*×x/÷()]*\d[\d.\s)]*=)\s*(-?\d+(?:\.\d+)?)$/;

/** Whether the first line of a text that is not blank is a sum with its result. */
export function isEquations(content: string): boolean {
  return EQUATION.test(
    content
      .replace(/^\ufeff/, '')
      .trimStart()
      .split('\n', 1)[0]
      .trim(),
  );
}

/** The sums of a text, in its order. @throws UserError where a line is something else */
export function parseEquations(content: string, source: string): Equation[] {
  const equations: Equation[] = [];
  for (const [index, line] of content
    .replace(/^\ufeff/, '')
    .split('\n')
    .entries()) {
    if (line.trim() === '') continue;
    const match = EQUATION.exec(line.trim());
    if (match === null) {
      const place = { zh: `${source} 第 ${index + 1} 行`, en: `${source}, line ${index + 1}` };
      throw problem(
        { place },
        '不是 8+12=20 这样的算式，请改正或删除这一行',
        'this is no sum like 8+12=20; correct or remove the line',
      );
    }
    const [, question, result] = match;
    equations.push({ question, result });
  }
  if (equations.length === 0) throw noRecords(source);
  return equations;
}
