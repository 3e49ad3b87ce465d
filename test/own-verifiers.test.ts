/** `--verifiers`: the example of lesson 6 through the command, and the modules that cannot be used. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createCommand, parseCommand } from '../src/cli/options.ts';
import { checkContradictions, skippedStages } from '../src/cli/training-checks.ts';
import { loadData } from '../src/cli/training-data.ts';
import { addTrainingOptions, type TrainingOptions } from '../src/cli/training-options.ts';
import { taskTypesOf } from '../src/cli/training-settings.ts';
import { loadVerifiers } from '../src/cli/verifiers.ts';
import { UserError } from '../src/errors.ts';
import { VERIFIERS } from '../src/verifiers.ts';
import { runHere } from './support/command.ts';
import { CHATS, DOCUMENTS, PAIRS } from './support/tiny.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-verifiers-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const known = new Map(VERIFIERS);
afterEach(() => {
  for (const type of VERIFIERS.keys()) if (!known.has(type)) VERIFIERS.delete(type);
});

function file(name: string, content: string): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}
const IMPORT = `import { createVerifier, registerVerifier } from ${JSON.stringify(resolve('src/verifiers.ts'))};\n`;
const PARITY = ['--verifiers', 'docs/examples/parity.ts', '--data', 'rlvf=docs/examples/parity.jsonl'];

const parse = (...argv: string[]): Promise<TrainingOptions> =>
  parseCommand<TrainingOptions>(
    addTrainingOptions(createCommand('train', { zh: '训练', en: 'train' })),
    argv,
  );

describe('--verifiers', () => {
  it('registers what a module brings, and gives its source', async () => {
    const path = file('echo.ts', `${IMPORT}registerVerifier(createVerifier('echo', (a, b) => a === b));`);
    const [source] = (await loadVerifiers([path]))!;
    expect(source).toContain("'echo'");
    expect(VERIFIERS.get('echo')?.isCorrect('a', 'a')).toBe(true);
    expect(await loadVerifiers([])).toBeUndefined();
  });

  it.each([
    ['missing.ts', undefined, /missing\.ts/],
    [
      'nothing.ts',
      'export const nothing = 1;',
      /nothing\.ts of --verifiers registers nothing: call registerVerifier/,
    ],
    [
      'twice.ts',
      `${IMPORT}registerVerifier(createVerifier('math', () => true));`,
      /twice\.ts of --verifiers cannot be used: There is a verifier of the type "math" already: choose another name/,
    ],
    ['broken.ts', 'throw new Error("oh dear");', /broken\.ts of --verifiers cannot be used: oh dear/],
  ])('refuses %s', async (name, content, message) => {
    const path = content === undefined ? join(root, name) : file(name, content);
    const loading = loadVerifiers([path]);
    await expect(loading).rejects.toThrow(UserError);
    await expect(loading).rejects.toThrow(message);
  });

  it('lets RLVF train on tasks of a new type', async () => {
    const data = [
      `pretrain=${file('text.txt', DOCUMENTS.join('\n<|endoftext|>\n'))}`,
      `sft=${file('chats.json', JSON.stringify(CHATS.map((messages) => ({ messages }))))}`,
      `reward=${file('pairs.json', JSON.stringify(PAIRS))}`,
    ];
    const output = await runHere('train', [
      ...['--preset', 'nano', '--threads', '1', '--batch-size', '4', '--out', join(root, 'out')],
      ...['--pretrain-epochs', '1', '--sft-epochs', '1', '--reward-epochs', '1', '--rlhf-episodes', '8'],
      ...['--rlvf-iterations', '1', ...PARITY, ...data],
    ]);
    expect(output).toMatch(/held-out accuracy \(parity\)/);
    expect(output).not.toMatch(/held-out accuracy \(math\)/);
  });
});

describe('--rlvf-tasks', () => {
  it('takes types in any order, and math,logic is the default', async () => {
    expect(taskTypesOf(await parse())).toBeUndefined();
    expect(taskTypesOf(await parse('--rlvf-tasks', 'logic, math'))).toBeUndefined();
    expect(taskTypesOf(await parse('--rlvf_tasks', 'counting,math,counting'))).toEqual(['math', 'counting']);
  });

  it('names the types that there are where one is unknown', async () => {
    await expect(parse('--rlvf-tasks', 'math,poetry')).rejects.toThrow(
      /choose one of math, logic, multiplication, comparison, counting, reversing, sorting, equation, units, dates/,
    );
    await expect(parse('--rlvf-tasks', '')).rejects.toThrow(/choose one of math/);
  });

  it('must have something to decide', async () => {
    const check = async (...argv: string[]): Promise<void> => {
      const options = await parse(...argv);
      checkContradictions(options, skippedStages(options), loadData(options.data));
    };
    await check('--rlvf-tasks', 'counting', '--skip-sft');
    await check('--rlvf-tasks', 'counting', '--data', 'rlvf=docs/examples/parity.jsonl');
    await expect(check('--rlvf-tasks', 'counting', '--skip-sft', '--skip-rlvf')).rejects.toThrow(
      /--rlvf-tasks has no effect/,
    );
    await expect(check('--verifiers', 'docs/examples/parity.ts', '--skip-rlvf')).rejects.toThrow(
      '--verifiers contradicts --skip-rlvf',
    );
  });
});
