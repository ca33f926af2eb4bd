"""The reference on the default model with real text, as one JSON fixture.

python make_real_fixture.py MODEL.gguf wiki.test.raw OUT.json

The first 96 tokens of the WikiText-2 raw test split (tokenised as it stands, no BOS), weights
dequantised to F32, layers 13, 14, 15, 17 and 26 selecting at 0.333.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from llama_cpp import Llama

from make_fixtures import decode_results, layer_results, number, numbers, selecting, write_json
from model import Model
from plan import parse_plan
from sequence import Sequence, greedy

N_TOKENS = 96
N_DECODE = 32
PLAN = [selecting(il, 0.333) for il in (13, 14, 15, 17, 26)]
ROWS = (0, 1, 2, 47, 95)


def first_tokens(model_path, text_path):
    """The head of the text is enough: no merge reaches back over so much."""
    vocab = Llama(model_path, vocab_only=True, verbose=False)
    text = Path(text_path).read_text(encoding="utf-8")[:4000]
    return vocab.tokenize(text.encode(), add_bos=False, special=False)[:N_TOKENS]


def probe(logits, ids):
    """The 32 largest logits and 32 spread over the vocabulary: at all places in the order."""
    return {"ids": ids, "values": numbers(logits[ids])}


def run(model, tokens, plan):
    """Prefill, then a greedy decode, as in make_fixtures.py; logits at 64 ids only."""
    sequence = Sequence(model, parse_plan({"layers": plan}))
    step = sequence.forward(tokens)
    logits = model.logits(step.hidden[-1:])[0]
    n_vocab = len(logits)
    spread = np.linspace(0, n_vocab - 1, 32).astype(int).tolist()
    ids = logits.topk(32).indices.tolist()
    ids += [i for i in spread if i not in ids]
    new, steps, last, gap = greedy(sequence, logits, N_DECODE)
    decode = decode_results(sequence, steps, new, last)
    decode["logits"] = probe(last, ids)
    gaps = {"score": min([step.gap] + [s.gap for s in steps]), "logit": gap}
    return {"plan": plan,
            "min_gaps": {key: number(g) for key, g in gaps.items() if np.isfinite(g)},
            "prefill_score_gap": number(step.gap) if np.isfinite(step.gap) else None,
            "prefill": {"layers": layer_results(step),
                        "hidden": [{"row": row, "norm": number(float(step.hidden[row].norm())),
                                    "values": numbers(step.hidden[row, :64])} for row in ROWS],
                        "logits": probe(logits, ids)},
            "decode": decode}


def main():
    torch.set_num_threads(1)
    model_path, text_path, out = sys.argv[1:4]
    tokens = first_tokens(model_path, text_path)
    model = Model(model_path)
    with torch.no_grad():
        cases = [{"name": name, "apply": "both", "tokens": tokens, **run(model, tokens, plan)}
                 for name, plan in (("dense", []), ("orthogonal", PLAN))]
    for case in cases:
        print(case["name"], case["min_gaps"], case["prefill_score_gap"])
    write_json(Path(out), {"format": "orthorank-reference", "version": 1,
                           "model": Path(model_path).name, "cases": cases})


if __name__ == "__main__":
    main()
