"""The reference against itself: worked examples of the rule, and what must be equal.

python check_reference.py MODEL.gguf...
"""

import sys

import numpy as np
import torch

from model import Model
from plan import LayerPlan
from sequence import Sequence, pick

SCORES = [float("inf"), 5.0, 0.2, 1.0, 0.2, 3.0, 0.1]


def check_worked_examples():
    """Seven scores of which two are picked (a tie goes to the lower position), then a decode."""
    assert pick("orthogonal", 0.333, SCORES, 0) == [2, 6]
    assert pick("orthogonal", 0.333, SCORES + [0.15], 7) == [7]
    assert pick("orthogonal", 0.333, SCORES + [0.15, 0.2], 8) == []
    assert pick("orthogonal", 0.333, SCORES + [0.15, 0.2, 0.12], 9) == [9]
    assert pick("orthogonal", 1.0, SCORES, 0) == list(range(7))
    assert pick("orthogonal-reverse", 0.333, SCORES, 0) == [1, 5]
    assert pick("orthogonal", 0.333, [1.0], 0) == []


def hidden(model, tokens, plan, chunks=1):
    sequence = Sequence(model, plan)
    parts = [sequence.forward(list(part)).hidden for part in np.array_split(tokens, chunks)]
    return torch.cat(parts)


def check_model(path):
    model = Model(path)
    n_vocab = model.weights["token_embd.weight"].shape[0]
    tokens = np.random.default_rng(2).integers(3, n_vocab, 30)
    dense = hidden(model, tokens, {})
    limit = 1e-4 * float(dense.abs().max())

    def close(a, b):
        assert float((a - b).abs().max()) < limit

    close(dense, hidden(model, tokens, {1: LayerPlan("select", 1.0)}))
    close(hidden(model, tokens, {1: LayerPlan("skip")}),
          hidden(model, tokens, {1: LayerPlan("select", 0.0)}))
    close(dense, hidden(model, tokens, {}, chunks=30))
    last = model.hparams.n_layers - 1
    sequence = Sequence(model, {last: LayerPlan("select", 0.333)})
    step = sequence.forward(tokens.tolist())
    unselected = [i for i in range(30) if i not in step.rows[last]]
    removed = hidden(model, tokens, {last: LayerPlan("skip")})
    assert len(step.rows[last]) == 9 and 0 in unselected
    assert torch.equal(step.hidden[unselected], removed[unselected])
    close(step.hidden[step.rows[last]], dense[step.rows[last]])


if __name__ == "__main__":
    torch.set_num_threads(1)
    check_worked_examples()
    with torch.no_grad():
        for argument in sys.argv[1:]:
            check_model(argument)
    print(f"worked examples and {len(sys.argv) - 1} models: as they should be")
