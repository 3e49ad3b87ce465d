/**
 * @file The first step of tokenizing: cut the text into pieces that merges never cross.
 *
 * Without this step BPE would learn tokens such as `dog.` and `dog!` and `dog,` beside `dog`. The pieces are those of
 * the published Qwen2 pattern, so that llama.cpp (`tokenizer.ggml.pre = qwen2`) and Hugging Face cut a text in the same
 * places:
 *
 *     preTokenize('我有 12 个苹果，it\'s OK!\n')
 *     // ['我有', ' ', '1', '2', ' 个苹果', '，it', "'s", ' OK', '!\n']
 *
 * Each digit is a piece of its own, which makes arithmetic learnable; a space or a punctuation mark sticks to the word
 * after it.
 */

/** The pattern as Hugging Face writes it into `tokenizer.json` (Oniguruma syntax). */
export const QWEN2_PATTERN = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/**
 * The same pattern in JavaScript, alternative by alternative. Two things are spelt out:
 *
 * - `(?i:...)` does not exist before Node 23, so both cases are listed; `ſ` (U+017F) is there because Unicode
 *   case folding makes it an `s`.
 * - JavaScript's `\s` has U+FEFF and lacks U+0085; Oniguruma's is the Unicode property `White_Space`.
 *
 * What counts as a letter or a number is up to the Unicode version of each program: only characters that were added
 * to Unicode in the last few years can be cut differently.
 */
const PIECE = new RegExp(
  [
    `'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])`, //           English endings: 's 't 'm 'd 're 've 'll
    String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`, //                    letters, with one leading space or mark
    String.raw`\p{N}`, //                                       one digit
    String.raw` ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*`, //      marks and symbols, with the line ends after them
    String.raw`\p{White_Space}*[\r\n]+`, //                     white space up to the last line end
    String.raw`\p{White_Space}+(?!\P{White_Space})`, //         white space, but leave one for the word that follows
    String.raw`\p{White_Space}+`,
  ].join('|'),
  'gu',
);

/** Cut `text` into pieces; joined together they are `text` again. */
export function preTokenize(text: string): string[] {
  return text.match(PIECE) ?? [];
}
