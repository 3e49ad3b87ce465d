"""The same work as `bench -- train` in PyTorch: whole training steps (loss, gradients, clipping, AdamW) on random ids.

    python bench/peers/train_pytorch.py [--preset mini|nanogpt] [--batch N] [--context N] [--compile] [--threads N]

Prints one line of JSON. `--compile` uses torch.compile, which needs a C++ compiler and about a minute to start.
"""

import argparse
import json
import time

import torch
from gpt_pytorch import GPT, PRESETS, adamw, gemm_gflops, median, peak_rss_mb

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--preset", choices=PRESETS, default="mini")
parser.add_argument("--batch", type=int)
parser.add_argument("--context", type=int)
parser.add_argument("--steps", type=int, help="measured steps (default: 8 for mini, 100 for nanogpt)")
parser.add_argument("--threads", type=int)
parser.add_argument("--compile", action="store_true")
options = parser.parse_args()

if options.threads:
    torch.set_num_threads(options.threads)
torch.manual_seed(0)
config = dict(PRESETS[options.preset])
batch = options.batch or config["batch"]
config["context"] = options.context or config["context"]
steps = options.steps or (8 if options.preset == "mini" else 100)

model = GPT(**config)
optimizer = adamw(model, betas=(0.9, 0.95), rate=3e-4)
loss_of = torch.compile(model) if options.compile else model
ids, targets = torch.randint(config["vocabulary"], (2, batch, config["context"]))


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(ids, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


for _ in range(3):
    step()
seconds = []
for _ in range(steps):
    start = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - start)

peak_rss = peak_rss_mb()  # before the matrix products below add theirs
middle = median(seconds)
tokens = batch * config["context"]
print(
    json.dumps(
        {
            "engine": f"pytorch {torch.__version__} {'compile' if options.compile else 'eager'}",
            "preset": options.preset,
            "batch": batch,
            "context": config["context"],
            "threads": torch.get_num_threads(),
            "tokensPerSecond": round(tokens / middle),
            "stepSeconds": round(middle, 5),
            "fastestStepSeconds": round(min(seconds), 5),
            "peakRssMb": peak_rss and round(peak_rss),
            "gemmGflops": round(gemm_gflops(), 1),
        }
    )
)
