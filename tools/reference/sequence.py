"""OrthoRank in plain PyTorch, F32: an independent reading of the method.

Written from the paper's text (Shin, Oh, Oh, ICML 2025, arXiv 2507.03865; its Algorithm 1, sections
3.1 and 3.2, Tables 5 and 6) and from nothing of the C++ engine, which is compared with it.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from plan import DENSE, LARGEST_FIRST, WHOLE_PROMPT

MASK64 = (1 << 64) - 1


def random_score(seed, layer, position):
    """A number in [0, 1) that depends on nothing else (splitmix64's finaliser)."""
    z = (seed * 0x9E3779B97F4A7C15 + layer * 0xBF58476D1CE4E5B9
         + position * 0x94D049BB133111EB + 0x2545F4914F6CDD1D) & MASK64
    z ^= z >> 30
    z = z * 0xBF58476D1CE4E5B9 & MASK64
    z ^= z >> 27
    z = z * 0x94D049BB133111EB & MASK64
    z ^= z >> 31
    return (z >> 40) / (1 << 24)


def importance_keys(policy, scores):
    """Scores of all positions so far as keys of which the smallest are picked; the sink (position
    0) comes last in every policy."""
    keys = np.array(scores, dtype=np.float64)
    if policy in LARGEST_FIRST:
        keys = -keys
    keys[0] = np.inf
    return keys


def pick(policy, ratio, scores, n_past):
    """The new positions (>= n_past) among the int(ratio * N) best of all N; ties: lower position.

    With n_past = 0 this is Algorithm 1, with one new position the decode rule of section 3.2.
    """
    keys = importance_keys(policy, scores)
    k = int(ratio * len(keys))
    best = np.argsort(keys, kind="stable")[:k]
    return sorted(int(i) for i in best if i >= n_past)


def threshold_gap(policy, ratio, scores, n_past):
    """How near the choice among the new positions was to another one: the smallest relative
    distance of a new key from the nearest key on the other side of the limit."""
    keys = importance_keys(policy, scores)
    k = int(ratio * len(keys))
    if k == 0 or k >= len(keys) or policy == "random":
        return np.inf
    in_order = np.sort(keys)
    last_in, first_out = in_order[k - 1], in_order[k]
    if not np.isfinite(first_out):
        return np.inf
    gaps = [np.inf]
    for key in keys[n_past:]:
        other = first_out if key <= last_in else last_in
        if np.isfinite(key):
            gaps.append(abs(key - other) / max(abs(key), abs(other)))
    return min(gaps)


@dataclass
class LayerCache:
    """K and V of one layer; `positions` says whose (not all of them in orthogonal-no-kv)."""

    k: torch.Tensor = None
    v: torch.Tensor = None
    positions: torch.Tensor = None

    def append(self, k, v, positions):
        if self.k is None:
            self.k, self.v, self.positions = k, v, positions
            return
        self.k, self.v = torch.cat([self.k, k]), torch.cat([self.v, v])
        self.positions = torch.cat([self.positions, positions])


@dataclass
class Step:
    """What one forward call saw: `hidden` before the final norm, and per selecting layer the
    scores of the new rows and the positions computed. `first` is the first new position, `gap` how
    near the nearest choice was to another one."""

    hidden: torch.Tensor = None
    scores: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    first: int = 0
    gap: float = float("inf")


class Sequence:
    """One timeline: K and V, and per selecting layer the sink's vector and all scores so far.

    `apply` is prefill, decode or both: where it does not apply, selecting layers compute every row
    (scores are kept all the same). A call on an empty sequence is prefill, any later one decode.
    """

    def __init__(self, model, plan=None, apply="both"):
        self.model, self.plan, self.apply = model, plan or {}, apply
        self.n_past = 0
        self.caches = [LayerCache() for _ in range(model.hparams.n_layers)]
        self.sinks, self.scores = {}, {}

    def forward(self, tokens):
        step = Step(first=self.n_past)
        h = self.model.embed(tokens)
        positions = torch.arange(self.n_past, self.n_past + len(tokens))
        for layer in range(self.model.hparams.n_layers):
            plan = self.plan.get(layer, DENSE)
            h = self.layer(layer, plan, h, positions, step)
        self.n_past += len(tokens)
        step.hidden = h
        return step

    def layer(self, layer, plan, h, positions, step):
        """One layer over the new rows: some computed, the others corrected or left as they are."""
        if plan.action == "skip" and plan.correction is None:
            return h
        a = self.model.norm(h, f"blk.{layer}.attn_norm.weight")
        rows = torch.arange(len(h) if plan.action == "dense" else 0)
        if plan.action == "select":
            rows = self.select(layer, plan, h, a, positions, step)
        out = h if plan.action == "skip" else self.body(layer, plan, h, a, positions, rows)
        if plan.correction is None:
            return out
        left = torch.ones(len(h), dtype=torch.bool).index_fill(0, rows, False) & (positions > 0)
        c = plan.correction
        return torch.where(left[:, None], h + c.bias + a @ c.down @ c.up, out)

    def applies(self):
        return self.apply == "both" or self.apply == ("decode" if self.n_past else "prefill")

    def select(self, layer, plan, h, a, positions, step):
        """Scores the new rows, remembers them, and says which rows the layer computes."""
        new = self.score(layer, plan, h, a, positions)
        scores = self.scores.setdefault(layer, [])
        scores += new
        step.scores[layer] = new
        if self.applies():
            chosen = pick(plan.policy, plan.ratio, scores, self.n_past)
            step.gap = min(step.gap,
                           threshold_gap(plan.policy, plan.ratio, scores, self.n_past))
        else:
            chosen = positions.tolist()
        step.rows[layer] = chosen
        return torch.tensor(chosen, dtype=torch.long) - self.n_past

    def score(self, layer, plan, h, a, positions):
        """Tables 5 and 6, one float per new row: |<hbar_0, hbar_i>| and what it is compared with."""
        policy = plan.policy
        if policy == "random":
            return [random_score(plan.seed, layer, p) for p in positions.tolist()]
        if policy in WHOLE_PROMPT:
            window = plan.window if policy == "query" else len(a)
            return self.attention_received(layer, a, positions, window)
        if policy == "attention-output":
            return self.attention_output_norms(layer, a, positions)
        if policy == "probe":
            return (a @ plan.probe).tolist()
        if policy in ("norm-up", "norm-down"):
            return a.norm(dim=-1).tolist()
        vectors = h if policy == "orthogonal-raw" else a
        if self.n_past == 0:
            self.sinks[layer] = vectors[0]
        sink = self.sinks[layer]
        scores = (vectors @ sink).abs()
        if policy == "cosine":
            scores = scores / (vectors.norm(dim=-1) * sink.norm())
        return scores.tolist()

    def attention_received(self, layer, a, positions, window):
        """Table 6: sum over heads and over the queries t >= i of A[t, i]; SPTS (arXiv 2601.13155)
        looks at the last queries, here the last `window`."""
        if self.n_past:
            raise ValueError("attention received is defined for prefill only")
        hp = self.model.hparams
        asking = positions[-window:]
        q = self.model.heads(a[-window:], layer, "q", hp.n_head, asking)
        k = self.model.heads(a, layer, "k", hp.n_head_kv, positions)
        return self.model.probabilities(q, asking, k, positions, layer).sum((0, 1)).tolist()

    def attention_output_norms(self, layer, a, positions):
        """DASH's idea (arXiv 2604.18103): how much attention changes a row's hidden state."""
        hp, model = self.model.hparams, self.model
        seen = LayerCache(*vars(self.caches[layer]).values())
        seen.append(model.heads(a, layer, "k", hp.n_head_kv, positions),
                    model.heads(a, layer, "v", hp.n_head_kv, positions), positions)
        q = model.heads(a, layer, "q", hp.n_head, positions)
        update = model.attend(q, positions, seen.k, seen.positions, seen.v, layer)
        return update.norm(dim=-1).tolist()

    def body(self, layer, plan, h, a, positions, rows):
        """Algorithm 1's layer: K and V of all new rows, everything else for `rows` only."""
        hp, model = self.model.hparams, self.model
        kv_rows = torch.arange(len(h))
        if plan.action == "select" and plan.policy == "orthogonal-no-kv":
            kv_rows = rows
        if len(kv_rows):
            self.caches[layer].append(
                model.heads(a[kv_rows], layer, "k", hp.n_head_kv, positions[kv_rows]),
                model.heads(a[kv_rows], layer, "v", hp.n_head_kv, positions[kv_rows]),
                positions[kv_rows])
        if len(rows) == 0:
            return h
        cache = self.caches[layer]
        q = model.heads(a[rows], layer, "q", hp.n_head, positions[rows])
        u = h[rows] + model.attend(q, positions[rows], cache.k, cache.positions, cache.v, layer)
        u = u + model.ffn(model.norm(u, f"blk.{layer}.ffn_norm.weight"), layer)
        return h.index_copy(0, rows, u)


def greedy(sequence, first_logits, n_tokens):
    """Feeds the best token n_tokens times; returns tokens, steps, the last logits and the smallest
    distance between the two best logits on the way."""
    logits, tokens, steps, gap = first_logits, [], [], float("inf")
    for _ in range(n_tokens):
        best = logits.topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
        steps.append(sequence.forward(tokens[-1:]))
        logits = sequence.model.logits(steps[-1].hidden)[0]
    return tokens, steps, logits, gap
