"""Layer selection on tiny models, by brute force: what the engine's selection is compared with.

python make_layer_selection.py FIXTURES_DIR

SLEB's greedy search (Song et al., ICML 2024) and the one-shot criteria of Shortened LLaMA (Kim et
al., 2024), with blocks removed, and with blocks turned into OrthoRank layers (the OrthoRank paper,
section 3.2).
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from make_fixtures import number, write_json
from model import Model
from plan import LayerPlan
from sequence import Sequence

RATIO = 0.333
N_CROPS, CROP = 10, 24
N_CALIBRATION, SEQLEN = 100, 32
ACTIONS = {"remove": LayerPlan("skip"), "convert": LayerPlan("select", RATIO)}
MIN_LOSS_GAP = 1e-3  # relative: between the best candidate of a round and the next
MIN_SCORE_GAP = 1e-4
MIN_ROUTER_GAP = 1e-4


class NearTie(Exception):
    pass


def window_nll(model, tokens, plan):
    """Mean NLL of the len(tokens) - 1 targets."""
    step = Sequence(model, plan).forward(tokens)
    if step.gap < MIN_SCORE_GAP:
        raise NearTie
    return F.cross_entropy(model.logits(step.hidden[:-1]), torch.tensor(tokens[1:]))


def calibration_loss(model, stream, plan):
    """SLEB: the sum over whole windows of the mean NLL times seqlen; the tail is dropped."""
    windows = [stream[i:i + SEQLEN] for i in range(0, len(stream) - SEQLEN + 1, SEQLEN)]
    return sum(float(window_nll(model, window, plan)) * SEQLEN for window in windows)


def greedy_search(model, stream, action):
    """Round by round the block whose removal (conversion) costs least; the first and the last of
    the blocks left are no candidates; the lowest block wins a tie."""
    left, taken, rounds = list(range(model.hparams.n_layers)), [], []
    while len(left) > 2:
        losses = []
        for layer in left[1:-1]:
            plan = dict.fromkeys(taken + [layer], ACTIONS[action])
            losses.append(calibration_loss(model, stream, plan))
        in_order = sorted(losses)
        if len(losses) > 1 and (in_order[1] - in_order[0]) / in_order[0] < MIN_LOSS_GAP:
            raise NearTie
        chosen = left[1 + losses.index(in_order[0])]
        rounds.append({"candidates": left[1:-1], "losses": [number(x) for x in losses],
                       "chosen": chosen})
        taken.append(chosen)
        left.remove(chosen)
    return {"order": taken, "rounds": rounds}


def one_shot_ppl(model, crops, action):
    """exp of the mean NLL over all targets of all crops, with one block alone changed."""
    ppl = []
    for layer in range(model.hparams.n_layers):
        nll = [float(window_nll(model, crop, {layer: ACTIONS[action]})) for crop in crops]
        ppl.append(math.exp(sum(nll) / len(nll)))
    return [number(x) for x in ppl]


def block_weights(model, layer):
    """The nine weights of a block (MoE: the router and each tensor of experts instead of the
    three of the FFN), by name."""
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "attn_norm", "ffn_norm",
             "ffn_gate", "ffn_up", "ffn_down",
             "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]
    found = [f"blk.{layer}.{name}.weight" for name in names]
    return {name: model.weights[name] for name in found if name in model.weights}


def taylor(model, crops):
    """Sum over a weight's entries of |W * dLoss/dW|, Loss the mean over all targets, dense."""
    parameters = {name: weight for layer in range(model.hparams.n_layers)
                  for name, weight in block_weights(model, layer).items()}
    for weight in parameters.values():
        weight.requires_grad_(True)
    loss = sum(window_nll(model, crop, {}) for crop in crops) / len(crops)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    for weight in parameters.values():
        weight.requires_grad_(False)
    scores = {name: float((weight * gradient).abs().sum())
              for (name, weight), gradient in zip(parameters.items(), gradients)}
    layers = [{"index": layer,
               "score": number(sum(scores[name] for name in block_weights(model, layer))),
               "weights": {name.split(".")[2]: number(scores[name])
                           for name in block_weights(model, layer)}}
              for layer in range(model.hparams.n_layers)]
    return {"loss": number(float(loss)), "layers": layers}


def run(model, rng, with_greedy):
    n_vocab = model.weights["token_embd.weight"].shape[0]
    crops = rng.integers(3, n_vocab, (N_CROPS, CROP)).tolist()
    stream = rng.integers(3, n_vocab, N_CALIBRATION).tolist()
    model.router_gaps = []
    result = {"crops": crops, "taylor": taylor(model, crops)}
    with torch.no_grad():
        result["one_shot_ppl"] = {action: one_shot_ppl(model, crops, action) for action in ACTIONS}
        if with_greedy:
            result["sleb"] = {"tokens": stream, "seqlen": SEQLEN,
                              "dense_loss": number(calibration_loss(model, stream, {}))}
            for action in ACTIONS:
                result["sleb"][action] = greedy_search(model, stream, action)
    if model.router_gaps and min(model.router_gaps) < MIN_ROUTER_GAP:
        raise NearTie
    return result


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    for name in ("tiny-llama-gqa", "tiny-llama3-ropefreqs", "tiny-mixtral", "tiny-qwen2",
                 "tiny-qwen3"):
        model = Model(out / "models" / f"{name}.gguf")
        for seed in range(1000):
            try:
                result = run(model, np.random.default_rng(seed), name == "tiny-llama-gqa")
            except NearTie:
                continue
            write_json(out / f"layer-selection-{name}.json",
                       {"format": "orthorank-layer-selection-reference", "version": 1,
                        "model": f"models/{name}.gguf", "ratio": RATIO, "seed": seed, **result})
            break
        else:
            raise SystemExit(f"{name}: every draw has near-ties")


if __name__ == "__main__":
    main()
