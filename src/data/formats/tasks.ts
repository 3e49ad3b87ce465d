/** @file Questions whose answers a program can check, for RLVF. */

import { VERIFIERS } from '../../verifiers.ts';
import { checkText, fieldsOf, parseRecords, problem } from '../records.ts';
import { isEquations, parseEquations } from './equations.ts';

/** A question whose answer a program can check. */
export interface Task {
  readonly prompt: string;
  readonly expected: string;
  /** Which verifier checks an answer. */
  readonly type: string;
}

/**
 * Questions with an answer that can be checked: `{prompt, expected, type}`, where `expected` may be a number; or plain
 * text of sums, one a line, which are tasks of the type `math`.
 * @param types the types that have a verifier
 */
export function parseTasks(
  content: string,
  source: string,
  types: readonly string[] = [...VERIFIERS.keys()],
): Task[] {
  if (isEquations(content)) {
    return parseEquations(content, source).map(({ question, result }) => ({
      prompt: question,
      expected: result,
      type: 'math',
    }));
  }
  const shape = '{"prompt", "expected", "type"}';
  return parseRecords(content, source).map((at) => {
    const fields = fieldsOf(at, shape);
    const prompt = checkText(fields['prompt'], 'prompt', at);
    const { expected } = fields;
    const type = types.find((each) => each === fields['type']);
    if (type === undefined) {
      const known = types.join(', ');
      throw problem(
        at,
        `字段 type 是 ${JSON.stringify(fields['type'])}，请改为 ${known} 之一`,
        `the field type is ${JSON.stringify(fields['type'])}; use one of ${known}`,
      );
    }
    return {
      prompt,
      expected: checkText(typeof expected === 'number' ? String(expected) : expected, 'expected', at),
      type,
    };
  });
}
