"""The same work as `bench/tokenizer.ts` with Hugging Face `tokenizers` (Rust): train a vocabulary, encode the file.

    pip install tokenizers
    python bench/peers/tokenizer_hf.py FILE [VOCABULARY_SIZE]

Prints one line of JSON. Training reads the file line by line, which is its fastest way here (it uses all cores);
encoding is given whole (`encodeMbPerSecond`, one core, as ours) and by lines (`encodeBatchMbPerSecond`, all cores).
"""

import json
import os
import sys
import time

import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

RUNS = 3
SPECIAL_TOKENS = ["<pad>", "<unk>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(file, vocabulary_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([file], trainer)
    return tokenizer


def best_seconds(work):
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    file = sys.argv[1]
    vocabulary_size = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    text = open(file, encoding="utf-8", newline="").read()
    lines = text.splitlines(keepends=True)
    megabytes = os.path.getsize(file) / 1e6
    tokenizer = train(file, vocabulary_size)
    json_text = tokenizer.to_str()  # a fresh copy has an empty cache

    print(
        json.dumps(
            {
                "library": f"tokenizers {tokenizers.__version__}",
                "megabytes": round(megabytes, 3),
                "vocabSize": tokenizer.get_vocab_size(),
                "trainSeconds": round(best_seconds(lambda: train(file, vocabulary_size)), 3),
                "encodeMbPerSecond": round(
                    megabytes / best_seconds(lambda: Tokenizer.from_str(json_text).encode(text)), 2
                ),
                "encodeBatchMbPerSecond": round(
                    megabytes / best_seconds(lambda: Tokenizer.from_str(json_text).encode_batch(lines)), 2
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
