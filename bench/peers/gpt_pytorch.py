"""The model of `src/model.ts` (LayerNorm + GELU form) as one writes it in PyTorch, shared by the programs beside it.

Legend: B batch, T time, C channels, H heads, D head width, V vocabulary.
"""

import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

# (vocabulary, context, channels, heads, blocks, batch) of `mini` and of nanoGPT's CPU configuration.
PRESETS = {
    "mini": {"vocabulary": 2000, "context": 256, "channels": 256, "heads": 8, "blocks": 6, "batch": 16},
    "nanogpt": {"vocabulary": 65, "context": 64, "channels": 128, "heads": 4, "blocks": 4, "batch": 12},
}


def rotary(x, cos, sin):
    x1, x2 = x.chunk(2, -1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(channels)
        self.c_attn = nn.Linear(channels, 3 * channels)
        self.c_proj = nn.Linear(channels, channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, 4 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)

    def project(self, x, cos, sin):
        """Queries, keys and values [B, H, T, D]."""
        b, t, c = x.shape
        parts = self.c_attn(self.attention_norm(x)).split(c, -1)
        q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in parts)
        return rotary(q, cos, sin), rotary(k, cos, sin), v

    def finish(self, x, attended):
        x = x + self.c_proj(attended.transpose(1, 2).reshape(x.shape))
        return x + self.linear2(F.gelu(self.linear1(self.feed_forward_norm(x))))

    def forward(self, x, cos, sin):
        q, k, v = self.project(x, cos, sin)
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def prefill(self, x, cos, sin, cache):
        """A whole prompt x [B, T, C], whose keys and values go into the cache."""
        q, k, v = self.project(x, cos, sin)
        cache[0, :, :, : x.shape[1]] = k
        cache[1, :, :, : x.shape[1]] = v
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def decode(self, x, cos, sin, cache, position):
        """One new token x [B, C]; the cache [2, B, H, context, D] is written in place."""
        b, c = x.shape
        qkv = self.c_attn(self.attention_norm(x)).view(b, 3, self.heads, 1, c // self.heads)
        qk = rotary(qkv[:, :2], cos, sin)  # both in one go: at this size, calls cost more than arithmetic
        cache[0, :, :, position] = qk[:, 1, :, 0]
        cache[1, :, :, position] = qkv[:, 2, :, 0]
        keys, values = cache[:, :, :, : position + 1].unbind()
        return self.finish(x, F.scaled_dot_product_attention(qk[:, 0], keys, values))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, channels, heads, blocks, batch=None):
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, channels)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        half = channels // heads // 2
        angles = torch.arange(context)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                into_residual = name.endswith(("c_proj.weight", "linear2.weight"))
                nn.init.normal_(parameter, 0, 0.02 / (math.sqrt(2 * blocks) if into_residual else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids, targets=None):
        x = self.embedding(ids)
        t = ids.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:t], self.sin[:t])
        logits = F.linear(self.norm(x), self.embedding.weight)  # [B, T, V]
        return logits if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def caches(self, batch):
        """Room for the keys and values of every block."""
        channels = self.embedding.embedding_dim
        heads = self.blocks[0].heads
        return [torch.zeros(2, batch, heads, self.context, channels // heads) for _ in self.blocks]

    def prefill(self, ids, caches):
        """Logits [B, V] after a prompt ids [B, T]."""
        x = self.embedding(ids)
        t = ids.shape[1]
        for block, cache in zip(self.blocks, caches):
            x = block.prefill(x, self.cos[:t], self.sin[:t], cache)
        return F.linear(self.norm(x[:, -1]), self.embedding.weight)

    def decode(self, ids, position, caches):
        """Logits [B, V] after one more token ids [B]."""
        x = self.embedding(ids)
        cos, sin = self.cos[position], self.sin[position]
        for block, cache in zip(self.blocks, caches):
            x = block.decode(x, cos, sin, cache, position)
        return F.linear(self.norm(x), self.embedding.weight)


def adamw(model, betas, rate):
    """Fused AdamW with weight decay on matrices only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-8, fused=True)


def median(seconds):
    return sorted(seconds)[len(seconds) // 2]


def peak_rss_mb():
    """Most memory that this process ever held, in MiB; None where the system does not say (Windows)."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def gemm_gflops():
    """Best rate of the matrix product, in 10^9 operations a second, over the two shapes that bound ours."""
    best = 0.0
    with torch.no_grad():
        for m, k, n in [(4096, 256, 1024), (1024, 1024, 1024)]:
            a, b, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
            for _ in range(12):
                start = time.perf_counter()
                torch.mm(a, b, out=out)
                best = max(best, 2 * m * k * n / (time.perf_counter() - start) / 1e9)
    return best
