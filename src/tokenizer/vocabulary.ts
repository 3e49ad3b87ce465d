/**
 * @file What a vocabulary is made of: special tokens, the 256 bytes, and the merges that build everything else.
 *
 * Each token has a *name*, the form in which Hugging Face stores it. A file of JSON cannot hold arbitrary bytes, so each
 * byte is written as one printable character: printable bytes as themselves, the others as U+0100, U+0101, ... A space
 * becomes `Ġ`, and `中` (bytes E4 B8 AD) becomes `ä¸Ń`. Names are for files only; `displayBytes` is for people.
 */

/** The ids that the rest of the program relies on. */
export const SPECIAL = { pad: 0, unk: 1, bos: 2, eos: 3, imStart: 4, imEnd: 5 } as const;

/** The texts of the special tokens, in the order of their ids. */
export const SPECIAL_TOKENS = ['<pad>', '<unk>', '<bos>', '<eos>', '<|im_start|>', '<|im_end|>'] as const;

/** One learned rule: the neighbours `left` and `right` become `result` (all three are ids). */
export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly result: number;
}

/** The names of all tokens by id, and the merges in the order in which they were learned: the first has priority. */
export interface Vocabulary {
  readonly names: readonly string[];
  readonly merges: readonly Merge[];
}

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/** The character that stands for each byte in the name of a token (GPT-2's table). */
export const BYTE_NAMES: readonly string[] = (() => {
  let unprintable = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : 0x100 + unprintable++),
  );
})();

const BYTE_OF_NAME: ReadonlyMap<string, number> = new Map(BYTE_NAMES.map((name, byte) => [name, byte]));

/** The smallest vocabulary: the special tokens and the 256 bytes. */
export const BASE_SIZE = SPECIAL_TOKENS.length + 256;

/** The largest: far above any model's, and small enough for a pair of ids to fit one number (see `pairKey`). */
export const MAX_SIZE = 1_000_000;

/** One number for a pair of ids, to look the pair up by. */
export function pairKey(left: number, right: number, vocabSize: number): number {
  return left * vocabSize + right;
}

/** The names of the smallest vocabulary; the bytes come in the order of their characters, as in Hugging Face. */
export function baseNames(): string[] {
  return [...SPECIAL_TOKENS, ...[...BYTE_NAMES].sort()];
}

/** The bytes that a name stands for; undefined if a character of it stands for no byte. */
export function bytesOfName(name: string): Uint8Array | undefined {
  const bytes = Array.from(name, (character) => BYTE_OF_NAME.get(character));
  return bytes.includes(undefined) ? undefined : Uint8Array.from(bytes as number[]);
}

const ESCAPES: Readonly<Record<string, string>> = { ' ': '␠', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function displayCharacter(character: string): string {
  if (character in ESCAPES) return ESCAPES[character];
  if (/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u.test(character)) {
    return `\\u{${character.codePointAt(0)!.toString(16).toUpperCase()}}`;
  }
  return /\p{M}/u.test(character) ? `◌${character}` : character; // a combining mark needs something to sit on
}

/**
 * Bytes as a person can read them: whole characters as they are, invisible ones escaped, and bytes that are only a part
 * of a character in hexadecimal: `E4 BD A0 E5` is `你<E5>`.
 */
export function displayBytes(bytes: Uint8Array): string {
  let shown = '';
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at];
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      shown += displayCharacter(strictUtf8.decode(bytes.subarray(at, at + length)));
      at += length;
    } catch {
      shown += `<${lead.toString(16).toUpperCase().padStart(2, '0')}>`;
      at += 1;
    }
  }
  return shown;
}
