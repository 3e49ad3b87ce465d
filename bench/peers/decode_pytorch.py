"""The same work as `bench -- decode` in PyTorch: greedy decoding with a KV cache from one token to a full context, and
the prefill of a prompt that fills it.

    python bench/peers/decode_pytorch.py [--batch N] [--preset mini|nanogpt] [--runs N] [--threads N]

Prints one line of JSON. The cache is allocated once and written in place; no gradients are recorded.
"""

import argparse
import json
import time

import torch
from gpt_pytorch import GPT, PRESETS, median, peak_rss_mb

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--preset", choices=PRESETS, default="mini")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--runs", type=int, default=5, help="times that the context is filled")
parser.add_argument("--threads", type=int)
options = parser.parse_args()

if options.threads:
    torch.set_num_threads(options.threads)
torch.manual_seed(0)
model = GPT(**PRESETS[options.preset]).eval()
caches = model.caches(options.batch)


@torch.inference_mode()
def fill_context():
    """Seconds to generate a whole context after one first token."""
    ids = torch.full((options.batch,), 2)
    start = time.perf_counter()
    for position in range(model.context):
        ids = model.decode(ids, position, caches).argmax(-1)
    return time.perf_counter() - start


@torch.inference_mode()
def prefill():
    """Seconds to read a prompt as long as the context, to the scores of the next token."""
    ids = torch.full((options.batch, model.context), 7)
    start = time.perf_counter()
    model.prefill(ids, caches)
    return time.perf_counter() - start


prefill()
prefills = [prefill() for _ in range(4 * options.runs)]
fill_context()
middle = median([fill_context() for _ in range(options.runs)])
peak_rss = peak_rss_mb()
print(
    json.dumps(
        {
            "engine": f"pytorch {torch.__version__} eager",
            "preset": options.preset,
            "batch": options.batch,
            "context": model.context,
            "threads": torch.get_num_threads(),
            "tokensPerSecond": round(options.batch * model.context / middle),
            "stepSeconds": round(middle / model.context, 6),
            "prefillSeconds": round(median(prefills), 6),
            "minPrefillSeconds": round(min(prefills), 6),
            "peakRssMb": peak_rss and round(peak_rss),
        }
    )
)
