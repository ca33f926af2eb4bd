"""What `orthorank analyze` measures, on tiny models: what the engine's analysis is compared with.

python make_analysis.py FIXTURES_DIR

Written from the paper (section 3, Appendices C.1 and F, Figures 2, 3, 9 to 12); the length of the
gradient by autograd.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from make_fixtures import number, write_json
from model import Model
from plan import DENSE
from sequence import Sequence, pick, random_score

MODELS = ("tiny-llama-gqa", "tiny-qwen3")
N_TOKENS = 101
RATIO = 0.333
KEPT = (0, 1, 10, 50, 100)
POLICIES = ("orthogonal", "orthogonal-reverse", "orthogonal-raw", "random", "norm-up", "norm-down",
            "attention-up", "cosine")


def spearman(a, b):
    """Of values without ties."""
    ranks = [np.argsort(np.argsort(np.asarray(x, dtype=np.float64))) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def states_of(model, tokens):
    """The rows that enter every layer, and those that leave the last one."""
    sequence = Sequence(model)
    h = model.embed(tokens)
    positions = torch.arange(len(tokens))
    states = [h]
    for layer in range(model.hparams.n_layers):
        h = sequence.layer(layer, DENSE, h, positions, None)
        states.append(h)
    return states


def attention_of(model, layer, a):
    """Softmax probabilities [heads, queries, keys]."""
    hp, positions = model.hparams, torch.arange(len(a))
    q = model.heads(a, layer, "q", hp.n_head, positions)
    k = model.heads(a, layer, "k", hp.n_head_kv, positions)
    return model.probabilities(q, positions, k, positions, layer)


def gradient_lengths(a):
    lengths = []
    for row in a.double():
        row = row.clone().requires_grad_()
        F.cosine_similarity(a[0].double(), row, dim=0).backward()
        lengths.append(float(row.grad.norm()))
    return lengths


def scores_of(policy, layer, h, a, p):
    return {
        "orthogonal": lambda: (a @ a[0]).abs(), "orthogonal-reverse": lambda: (a @ a[0]).abs(),
        "orthogonal-raw": lambda: (h @ h[0]).abs(),
        "random": lambda: torch.tensor([random_score(0, layer, i) for i in range(len(a))]),
        "norm-up": lambda: a.norm(dim=1), "norm-down": lambda: a.norm(dim=1),
        "attention-up": lambda: p.sum((0, 1)),
        "cosine": lambda: F.cosine_similarity(a, a[:1]).abs(),
    }[policy]().double().tolist()


def agreements(layer, h, after, a, p):
    changes = (after - h).norm(dim=1).double().tolist()
    most_changed = pick("norm-up", RATIO, changes, 0)  # the largest, the sink last
    result = {}
    for policy in POLICIES:
        scores = scores_of(policy, layer, h, a, p)
        sign = 1 if policy in ("orthogonal-reverse", "norm-up", "attention-up") else -1
        rows = pick(policy, RATIO, scores, 0)
        result[policy] = {"correlation": number(sign * spearman(scores[1:], changes[1:])),
                          "overlap": number(len(set(rows) & set(most_changed)) / len(rows))}
    return result


def layer_values(model, layer, h, after):
    a = model.norm(h, f"blk.{layer}.attn_norm.weight")
    p = attention_of(model, layer, a)
    gradients = gradient_lengths(a)
    cosines = F.cosine_similarity(a, a[:1]).tolist()
    return {
        "sink_peak": number(float(h[0].abs().max())),
        "median_magnitude": number(float(h.abs().flatten().sort().values[h.numel() // 2])),
        "sink_cosines": [number(x) for x in cosines],
        "norms": [number(float(x)) for x in a.norm(dim=1)],
        "sink_attention": [number(float(x)) for x in p[:, 1:, 0].mean(1)],
        "norm_weight_variance": number(float(
            model.weights[f"blk.{layer}.attn_norm.weight"].var(unbiased=False))),
        "scaling_cosines": [number(float(x)) for x in F.cosine_similarity(a, h)],
        "cosine_gradient": number(-spearman(np.abs(cosines[1:]), gradients[1:])),
        "agreements": agreements(layer, h, after, a, p),
    }, a


def sink_layers(layers):
    """Signals A, B and C (0-based layers, None where there is none)."""
    massive = [x["sink_peak"] > 100 and x["sink_peak"] > 1000 * x["median_magnitude"]
               for x in layers]
    mean_cosine = [float(np.mean(x["sink_cosines"][1:])) for x in layers]
    share = [float(np.mean(x["sink_attention"])) for x in layers]
    by_activation = next((i for i in range(len(layers)) if all(massive[i:])), None)
    by_cosine = 1 + int(np.argmin(np.diff(mean_cosine)))
    by_attention = next((i for i, x in enumerate(share) if x > 0.3), None)
    return {"by_activation": by_activation, "by_cosine": by_cosine, "by_attention": by_attention}


def analysis_of(path, tokens):
    model = Model(str(path))
    with torch.no_grad():
        states = states_of(model, tokens)
    values, normed = zip(*(layer_values(model, layer, states[layer], states[layer + 1])
                           for layer in range(model.hparams.n_layers)))
    across = {str(i): [[number(float(F.cosine_similarity(x[i], y[i], dim=0))) for y in normed]
                       for x in normed] for i in KEPT if i < len(tokens)}
    return {"tokens": tokens, "layers": list(values), "across": across,
            "l_sink": sink_layers(values)}


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    generator = np.random.default_rng(18)
    for name in MODELS:
        tokens = [int(x) for x in generator.integers(3, 288, N_TOKENS)]
        write_json(folder / f"analysis-{name}.json",
                   analysis_of(folder / "models" / f"{name}.gguf", tokens))


if __name__ == "__main__":
    main()
