"""nanoGPT's CPU configuration in PyTorch: a character model of a text file, 2,000 steps, to a validation loss.

    python bench/peers/nanogpt_pytorch.py FILE [--steps N] [--seed N] [--threads N] [--compile]

Four blocks, four heads, 128 wide, context 64, batch 12, AdamW from 1e-3 by a cosine to 1e-4 after 100 steps of warm-up,
no dropout; the model is ours (rotary positions), not nanoGPT's. The first 90% of the text train, the rest validates.
Prints one line of JSON: `validationLoss` is the mean over 20 random batches, as in nanoGPT; `fullValidationLoss` is over
every character of the validation split, and so has no luck in it; `seconds` is the training alone.
"""

import argparse
import json
import math
import time

import torch
from gpt_pytorch import GPT, PRESETS, adamw, peak_rss_mb

PEAK_RATE, LAST_RATE, WARM_UP, EVALUATION_BATCHES = 1e-3, 1e-4, 100, 20

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--threads", type=int)
parser.add_argument("--compile", action="store_true")
options = parser.parse_args()

if options.threads:
    torch.set_num_threads(options.threads)
torch.manual_seed(options.seed)
with open(options.file, encoding="utf-8") as file:
    text = file.read()
characters = sorted(set(text))
index = {character: i for i, character in enumerate(characters)}
data = torch.tensor([index[character] for character in text])
train, validation = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]

config = PRESETS["nanogpt"] | {"vocabulary": len(characters)}
batch, context = config["batch"], config["context"]
model = GPT(**config)
optimizer = adamw(model, betas=(0.9, 0.99), rate=PEAK_RATE)
loss_of = torch.compile(model) if options.compile else model


def draw(split):
    starts = torch.randint(len(split) - context, (batch,))
    windows = split[starts[:, None] + torch.arange(context + 1)]
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def learning_rate(step):
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, options.steps - WARM_UP)
    return LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


if options.compile:
    loss_of(*draw(train)).backward()  # compiling is not training

start = time.perf_counter()
for step in range(options.steps):
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step)
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(*draw(train))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
seconds = time.perf_counter() - start
train_loss = loss.item()

with torch.no_grad():
    sampled = sum(model(*draw(validation)).item() for _ in range(EVALUATION_BATCHES)) / EVALUATION_BATCHES
    rows = (len(validation) - 1) // context
    ids = validation[: rows * context].view(rows, context)
    targets = validation[1 : rows * context + 1].view(rows, context)
    parts = [model(x, y).item() * len(x) for x, y in zip(ids.split(128), targets.split(128))]

print(
    json.dumps(
        {
            "engine": f"pytorch {torch.__version__} {'compile' if options.compile else 'eager'}",
            "steps": options.steps,
            "threads": torch.get_num_threads(),
            "validationLoss": round(sampled, 4),
            "fullValidationLoss": round(sum(parts) / rows, 4),
            "lastTrainLoss": round(train_loss, 4),
            "seconds": round(seconds, 2),
            "stepSeconds": round(seconds / options.steps, 5),
            "peakRssMb": (peak := peak_rss_mb()) and round(peak),
        }
    )
)
