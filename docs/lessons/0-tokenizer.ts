/** @file The worked example of lesson 0: `npx tsx docs/lessons/0-tokenizer.ts` */

import { preTokenize } from '../../src/tokenizer/pre-tokenize.ts';
import { Tokenizer } from '../../src/tokenizer.ts';

const text = '山上有山，山下有山。上山下山，山山有上。';
const pieces = preTokenize(text);
console.log('pieces', pieces);

// 6 special tokens + 256 bytes + 8 merges.
const tokenizer = Tokenizer.train([text], { vocabSize: 270 });
for (const [rank, { left, right, result }] of tokenizer.merges.entries()) {
  const parts = `${tokenizer.display(left)} + ${tokenizer.display(right)}`;
  console.log(`merge ${rank}: ${parts} = ${tokenizer.display(result)} (id ${result})`);
}

for (const sample of [text, '山水', '🙂']) {
  const ids = tokenizer.encode(sample);
  const bytes = new TextEncoder().encode(sample).length;
  const shown = Array.from(ids, (id) => tokenizer.display(id)).join(' ');
  console.log(`${sample}: ${bytes} bytes, ${ids.length} tokens: ${shown}`);
  console.log(`  back again: ${tokenizer.decode(ids) === sample}`);
}
