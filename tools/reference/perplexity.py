"""Perplexity of the dense model and of plans, by SLEB's protocol, for orientation.

python perplexity.py MODEL.gguf TEXT [--plan PLAN.json]... [--ctx 2048] [--windows N]

The text is tokenised in one piece (a BOS only where the tokenizer adds one), cut into windows that
share nothing, and every token of a window but its first is a target.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from llama_cpp import Llama

from model import Model
from plan import load_plan
from sequence import Sequence


def tokenize(model_path, text_path):
    vocab = Llama(model_path, vocab_only=True, verbose=False)
    adds_bos = vocab.metadata.get("tokenizer.ggml.add_bos_token", "true") == "true"
    return vocab.tokenize(Path(text_path).read_bytes(), add_bos=adds_bos, special=False)


def window_nll(model, tokens, plan):
    """Mean negative log-likelihood of the window's targets, a fresh full pass."""
    hidden = Sequence(model, plan).forward(tokens).hidden
    total = 0.0
    for start in range(0, len(tokens) - 1, 256):  # the logits of 2048 rows would take 400 MB
        rows = hidden[start:min(start + 256, len(tokens) - 1)]
        targets = torch.tensor(tokens[start + 1:start + 1 + len(rows)])
        total += float(F.cross_entropy(model.logits(rows), targets, reduction="sum"))
    return total / (len(tokens) - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--plan", action="append", default=[])
    parser.add_argument("--ctx", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=8)
    args = parser.parse_args()

    torch.set_num_threads(1)
    tokens = tokenize(args.model, args.text)
    n_windows = min(args.windows, len(tokens) // args.ctx)
    print(f"{len(tokens)} tokens, {n_windows} windows of {args.ctx}")
    model = Model(args.model)
    with torch.no_grad():
        for name, plan in [("dense", {})] + [(path, load_plan(path)) for path in args.plan]:
            nlls, start = [], time.time()
            for w in range(n_windows):
                nlls.append(window_nll(model, tokens[w * args.ctx:(w + 1) * args.ctx], plan))
                print(f"{name}: {w + 1} windows, perplexity "
                      f"{math.exp(sum(nlls) / len(nlls)):.4f}, {time.time() - start:.0f} s",
                      flush=True)


if __name__ == "__main__":
    main()
