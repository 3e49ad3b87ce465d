/** @file The worked example of lesson 3: `npx tsx docs/lessons/3-sft.ts` */

import { type Message, renderConversation, showMask } from '../../src/chat-format.ts';
import { packConversations } from '../../src/data/pack.ts';
import { maskedMean } from '../../src/nn/losses.ts';
import { tensor } from '../../src/tensor/index.ts';
import { Tokenizer } from '../../src/tokenizer.ts';

// Bytes alone would do; a few merges make the rows short enough to read.
const corpus = Array<string>(20).fill('user\nassistant\n你好！你是谁？我是 MyLLM。再见！');
const tokenizer = Tokenizer.train(corpus, { vocabSize: 300 });
const conversations: Message[][] = [
  [
    { role: 'user', content: '你好！' },
    { role: 'assistant', content: '你好！' },
  ],
  [
    { role: 'user', content: '你是谁？' },
    { role: 'assistant', content: '我是 MyLLM。' },
    { role: 'user', content: '再见！' },
    { role: 'assistant', content: '再见！' },
  ],
];
const rendered = conversations.map((messages) => renderConversation(tokenizer, messages));
for (const each of rendered) console.log(showMask(tokenizer, each, { color: Boolean(process.stdout.isTTY) }));

const { rows, report } = packConversations(rendered, { contextLength: 50 });
for (const { segments, positions, lossMask } of rows) {
  console.log(`segments   ${segments.join('')}`);
  console.log(`positions  ${Array.from(positions, (position) => position % 10).join('')} (last digit)`);
  console.log(`loss mask  ${lossMask.join('')}`);
}
console.log(`${report.trainedTokens} tokens to learn, ${(100 * report.fill).toFixed(0)}% of the places used`);

const losses = tensor([9, 9, 2, 1]);
console.log(`mean with the mask 0 0 1 1: ${maskedMean(losses, tensor([0, 0, 1, 1])).item()}`);
console.log(`mean without a mask: ${losses.mean().item()}`);
console.log(`mean with an empty mask: ${maskedMean(losses, tensor([0, 0, 0, 0])).item()}`);
