/**
 * @file A vocabulary as a Hugging Face `tokenizer.json`, and back.
 *
 * The format holds a whole pipeline (normalizer, pre-tokenizer, model, decoder). We write the one that this tokenizer
 * is, and refuse to read any other: a file that would cut a text differently must not be taken for ours.
 */

import { z } from 'zod';
import { UserError } from '../errors.ts';
import { QWEN2_PATTERN } from './pre-tokenize.ts';
import { BYTE_NAMES, bytesOfName, type Merge, SPECIAL_TOKENS, type Vocabulary } from './vocabulary.ts';

/** The text of a `tokenizer.json` that Hugging Face `tokenizers` and `transformers` load unchanged. */
export function vocabularyToJson({ names, merges }: Vocabulary): string {
  return JSON.stringify(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: SPECIAL_TOKENS.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: QWEN2_PATTERN }, behavior: 'Isolated', invert: false },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(names.map((name, id) => [name, id])),
        // "left right" is what every version of every reader knows; names never hold a space.
        merges: merges.map(({ left, right }) => `${names[left]} ${names[right]}`),
      },
    },
    null,
    2,
  );
}

const noAffix = z.literal('').nullish(); // BERT-style marks such as "##"
const fileSchema = z.object({
  added_tokens: z.array(z.object({ id: z.number().int().nonnegative(), content: z.string() })),
  normalizer: z.null().optional(),
  pre_tokenizer: z.object({
    type: z.literal('Sequence'),
    pretokenizers: z.tuple([
      z.object({
        type: z.literal('Split'),
        pattern: z.object({ Regex: z.literal(QWEN2_PATTERN) }),
        behavior: z.literal('Isolated'),
        invert: z.literal(false),
      }),
      z.object({
        type: z.literal('ByteLevel'),
        add_prefix_space: z.literal(false),
        use_regex: z.literal(false),
      }),
    ]),
  }),
  model: z.object({
    type: z.literal('BPE'),
    dropout: z.null().optional(),
    continuing_subword_prefix: noAffix,
    end_of_word_suffix: noAffix,
    byte_fallback: z.literal(false).optional(),
    ignore_merges: z.literal(false).optional(),
    vocab: z.record(z.string(), z.number().int().nonnegative()),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
});

/**
 * Read a `tokenizer.json`.
 *
 * @param source what to call the file in messages
 * @throws UserError when the text is not JSON, is another kind of tokenizer, or contradicts itself
 */
export function vocabularyFromJson(json: string, source: string): Vocabulary {
  const fail = (zh: string, en: string): UserError =>
    new UserError({
      zh: `分词器文件 ${source} 无法使用：${zh}；请换一个文件，或用 \`npm run tokenizer -- train\` 重新训练。`,
      en: `The tokenizer file ${source} cannot be used: ${en}; choose another file, or train one with \`npm run tokenizer -- train\`.`,
    });

  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fail(`它不是完整的 JSON（${reason}）`, `it is not complete JSON (${reason})`);
  }
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    const where = path.join('.') || 'JSON';
    throw fail(
      `\`${where}\` 与本项目的字节级 BPE（Qwen2 切分方式）不符（${message}）`,
      `\`${where}\` is not that of a byte-level BPE with the Qwen2 pattern (${message})`,
    );
  }
  const { added_tokens: added, model } = parsed.data;

  const idOfName = new Map([
    ...added.map(({ content: name, id }): [string, number] => [name, id]),
    ...Object.entries(model.vocab),
  ]);
  const names = Array.from<string>({ length: idOfName.size });
  for (const [name, id] of idOfName) {
    if (id >= names.length || names[id] !== undefined) {
      throw fail(
        `词元 ${JSON.stringify(name)} 的编号 ${id} 重复或超出范围`,
        `the id ${id} of token ${JSON.stringify(name)} is taken or out of range`,
      );
    }
    names[id] = name;
  }
  const wrong = SPECIAL_TOKENS.findIndex(
    (token, id) => names[id] !== token || added[id]?.content !== token || added[id].id !== id,
  );
  if (wrong !== -1 || added.length !== SPECIAL_TOKENS.length) {
    const expected = SPECIAL_TOKENS.map((token, id) => `${token}=${id}`).join(', ');
    throw fail(`特殊词元必须正好是 ${expected}`, `the special tokens must be exactly ${expected}`);
  }

  const missing = BYTE_NAMES.findIndex((name) => !idOfName.has(name));
  if (missing !== -1) throw fail(`词表缺少字节 ${missing}`, `its vocabulary lacks byte ${missing}`);
  const unreadable = names.findIndex((name, id) => id >= SPECIAL_TOKENS.length && !bytesOfName(name));
  if (unreadable !== -1) {
    const name = JSON.stringify(names[unreadable]);
    throw fail(
      `词元 ${unreadable}（${name}）不是字节级写法`,
      `token ${unreadable} (${name}) is not spelt in bytes`,
    );
  }

  const merges = model.merges.map((entry, rank): Merge => {
    const parts = typeof entry === 'string' ? entry.split(' ') : entry;
    const [left, right, result] = [...parts.slice(0, 2), parts.join('')].map((name) => idOfName.get(name));
    if (parts.length !== 2 || left === undefined || right === undefined || result === undefined) {
      const shown = JSON.stringify(entry);
      throw fail(
        `合并规则 ${rank}（${shown}）用到了词表以外的词元`,
        `merge ${rank} (${shown}) uses a token that is not in the vocabulary`,
      );
    }
    return { left, right, result };
  });
  return { names, merges };
}
