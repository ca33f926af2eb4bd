"""The fixture of corrections and probes.

python make_corrections.py FIXTURES_DIR

Two parts. "rows": the closed forms on rows that both sides make by the same arithmetic, exact in
F32. "walks": all changed layers of plans of a tiny model, on random tokens without near-ties.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from corrections import fit_correction, fit_plan, ridge_regression
from make_fixtures import numbers, write_json
from model import Model
from plan import LayerPlan

N_EMBD, N_ROWS, RANK, RIDGE = 16, 300, 3, 0.01
MODEL = "tiny-llama-gqa"
N_WINDOWS, N_CTX, WALK_RANK = 8, 48, 4
MIN_GAP = 2e-3
WALKS = {
    "orthogonal": {1: LayerPlan("select", 0.333), 2: LayerPlan("skip"),
                   4: LayerPlan("select", 0.5)},
    "probe": {1: LayerPlan("select", 0.333, "probe"), 2: LayerPlan("skip"),
              4: LayerPlan("select", 0.5, "probe")},
}


class Draws:
    """Multiples of 1/128 in [-1, 1) from a linear congruential generator."""

    def __init__(self, state):
        self.state = state

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) % (1 << 32)
        return ((self.state >> 24) - 128) / 128

    def rows(self, n, width):
        return torch.tensor([[self.next() for _ in range(width)] for _ in range(n)],
                            dtype=torch.float64)


def rows_case():
    """x: draws with means 0, 1, 2, ...; y: differences of neighbours with weights 1, 1/2, 1/4, ...
    and a draw; g: the sum of the first four of x, and a draw. The rows' weights, in "weighed": a draw + 1,
    less a quarter, and not below 0."""
    draws = Draws(1)
    x = draws.rows(N_ROWS, N_EMBD) + torch.arange(N_EMBD)
    weights = 0.5 ** (torch.arange(N_EMBD, dtype=torch.float64) % 4)
    y = (x - x.roll(-1, 1)) * weights + draws.rows(N_ROWS, N_EMBD)
    g = x[:, :4].sum(1, keepdim=True) + draws.rows(N_ROWS, 1)
    low = fit_correction(x, y, RANK, RIDGE)
    counts = (draws.rows(N_ROWS, 1)[:, 0] + 1).clamp(min=0.25) - 0.25  # some count nothing
    weighed = fit_correction(x, y, RANK, RIDGE, counts)
    rest = (y - weighed.bias - x @ weighed.down @ weighed.up).square().sum(1)
    return {"n_embd": N_EMBD, "n_rows": N_ROWS, "rank": RANK, "ridge": RIDGE,
            "w": numbers(ridge_regression(x, y, RIDGE).flatten()),
            "ab": numbers((low.down @ low.up).flatten()), "bias": numbers(low.bias),
            "probe": numbers(ridge_regression(x, g, RIDGE).flatten()),
            "weighed": {"ab": numbers((weighed.down @ weighed.up).flatten()),
                        "bias": numbers(weighed.bias),
                        "explained": 1 - float(counts @ rest / (counts @ y.square().sum(1)))}}


def layer_json(layer, fit):
    correction = fit.plan.correction
    result = {"index": layer, "action": fit.plan.action, "n_rows": fit.n_rows,
              "explained": fit.explained, "down": numbers(correction.down.T.flatten()),
              "up": numbers(correction.up.T.flatten()), "bias": numbers(correction.bias)}
    if fit.plan.action == "select":
        result |= {"ratio": fit.plan.ratio, "policy": fit.plan.policy}
    if fit.plan.probe is not None:
        result |= {"probe": numbers(fit.plan.probe), "r_squared": fit.r_squared}
    return result


def walk_case(model, name):
    n_vocab = model.weights["token_embd.weight"].shape[0]
    for seed in range(1000):
        tokens = np.random.default_rng(seed).integers(3, n_vocab, N_WINDOWS * N_CTX).tolist()
        windows = [tokens[i:i + N_CTX] for i in range(0, len(tokens), N_CTX)]
        fits = fit_plan(model, windows, WALKS[name], WALK_RANK, RIDGE)
        gap = min(fit.gap for fit in fits.values())
        if gap > MIN_GAP:
            print(name, "seed", seed, "gap", gap)
            return {"name": name, "seed": seed, "n_ctx": N_CTX, "rank": WALK_RANK, "ridge": RIDGE,
                    "tokens": tokens, "layers": [layer_json(il, fits[il]) for il in fits]}
    raise SystemExit(f"{name}: every draw has near-ties")


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    model = Model(out / "models" / f"{MODEL}.gguf")
    with torch.no_grad():
        walks = [walk_case(model, name) for name in WALKS]
    write_json(out / f"corrections-{MODEL}.json",
               {"format": "orthorank-corrections-reference", "version": 1,
                "model": f"models/{MODEL}.gguf", "rows": rows_case(), "walks": walks})


if __name__ == "__main__":
    main()
