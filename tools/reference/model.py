"""OrthoRank in plain PyTorch, F32: an independent reading of the method.

Written from the paper's text (Shin, Oh, Oh, ICML 2025, arXiv 2507.03865; its Algorithm 1, sections
3.1 and 3.2, Tables 5 and 6) and from nothing of the C++ engine, which is compared with it. Clear
before fast: one sequence, every row in one piece, all weights dequantised to F32.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F

POLICIES = (
    "orthogonal", "orthogonal-reverse", "orthogonal-raw", "orthogonal-no-kv", "random",
    "norm-up", "norm-down", "attention-up", "cosine", "query", "attention-output",
)
FITTED_POLICIES = ("probe",)
LARGEST_FIRST = ("orthogonal-reverse", "norm-up", "attention-up", "probe", "query",
                 "attention-output")
WHOLE_PROMPT = ("attention-up", "query")  # no scores for decoded tokens
NEOX_ARCHITECTURES = ("qwen2", "qwen3")
MASK64 = (1 << 64) - 1


# ---------------------------------------------------------------------------------------- plans


@dataclass(frozen=True)
class Correction:
    """A row h that a layer does not compute becomes h + bias + a @ down @ up, a being the row after
    the attention norm; the sink stays as it is."""

    down: torch.Tensor  # [n_embd, rank]
    up: torch.Tensor  # [rank, n_embd]
    bias: torch.Tensor  # [n_embd]


@dataclass(frozen=True)
class LayerPlan:
    """What one layer does: "dense", "skip" (the block is removed) or "select". `probe`: the vector
    whose inner product with a is the score of policy probe. `window`: of policy query."""

    action: str = "dense"
    ratio: float = 1.0
    policy: str = "orthogonal"
    seed: int = 0
    window: int = 32
    correction: Correction = field(default=None, compare=False)
    probe: torch.Tensor = field(default=None, compare=False)


DENSE = LayerPlan()


def parse_plan(plan, tensors=None):
    """The "layers" list of a plan file as {layer: LayerPlan}; unlisted layers are dense. `tensors`:
    those of the plan's GGUF file, by name."""
    layers = {}
    for entry in plan["layers"]:
        fields = {key: value for key, value in entry.items() if key not in ("index", "correction")}
        fields |= fitted_parts(entry["index"], tensors or {})
        layer = LayerPlan(**fields)
        if layer.policy not in POLICIES + FITTED_POLICIES or layer.action not in ("dense", "skip", "select"):
            raise ValueError(f"unknown policy or action in {entry}")
        layers[entry["index"]] = layer
    return layers


def fitted_parts(layer, tensors):
    bias, probe = (tensors.get(f"blk.{layer}.{name}") for name in ("correction.bias",
                                                                   "probe.weight"))
    parts = {} if probe is None else {"probe": probe}
    if bias is not None:
        down, up = (tensors.get(f"blk.{layer}.correction_{part}.weight") for part in ("down", "up"))
        if down is None:  # rank 0
            down, up = torch.zeros(len(bias), 0), torch.zeros(len(bias), 0)
        parts["correction"] = Correction(down.T, up.T, bias)
    return parts


def load_plan(path):
    with open(path) as file:
        plan = json.load(file)
    tensors = {}
    if "tensors" in plan:
        tensors = read_weights(gguf.GGUFReader(Path(path).parent / plan["tensors"]))
    return parse_plan(plan, tensors)


# ---------------------------------------------------------------------------------------- weights


def field_value(reader, key, default=None):
    found = reader.get_field(key)
    return default if found is None else found.contents()


@dataclass
class HParams:
    arch: str
    n_layers: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_rot: int
    rope_base: float
    rope_scale: float
    eps: float
    n_experts: int
    n_experts_used: int


def read_hparams(reader):
    arch = field_value(reader, "general.architecture")
    if arch not in ("llama", "qwen2", "qwen3"):
        raise ValueError(f"architecture {arch} is not one of llama, qwen2, qwen3")

    def get(key, default=None):
        return field_value(reader, f"{arch}.{key}", default)

    n_embd, n_head = get("embedding_length"), get("attention.head_count")
    head_dim = get("attention.key_length", n_embd // n_head)
    scaling = get("rope.scaling.type", "linear")
    if scaling not in ("linear", "none"):
        raise ValueError(f"rope scaling {scaling} is not supported")
    factor = get("rope.scaling.factor", get("rope.scale_linear", 0.0)) or 1.0
    return HParams(
        arch=arch, n_layers=get("block_count"), n_embd=n_embd, n_head=n_head,
        n_head_kv=get("attention.head_count_kv", n_head), head_dim=head_dim,
        n_rot=get("rope.dimension_count", head_dim), rope_base=get("rope.freq_base", 10000.0),
        rope_scale=1.0 if scaling == "none" else 1.0 / factor,
        eps=get("attention.layer_norm_rms_epsilon"),
        n_experts=get("expert_count", 0), n_experts_used=get("expert_used_count", 0))


def read_weights(reader):
    """Every tensor in F32, in PyTorch's order: [out, in], experts [expert, out, in]."""
    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weights[tensor.name] = torch.from_numpy(values.reshape(shape).copy())
    return weights


# ---------------------------------------------------------------------------------------- blocks


class Model:
    """A decoder read from a GGUF file. `router_gaps` collects how near each MoE choice was to a
    tie (relative distance of the last expert taken from the first one left out)."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.hparams = read_hparams(reader)
        self.weights = read_weights(reader)
        self.freq_factors = self.weights.get("rope_freqs.weight")
        self.router_gaps = []

    def norm(self, x, name):
        """RMSNorm with its learned weight (orthorank's hbar when `name` is the attention norm)."""
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.hparams.eps) * self.weights[name]

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def rope(self, x, positions):
        """Rotates [rows, heads, head_dim]: pairs (2i, 2i+1), or (i, i + n_rot/2) for NEOX."""
        hp = self.hparams
        exponents = torch.arange(0, hp.n_rot, 2, dtype=torch.float64) / hp.n_rot
        frequencies = hp.rope_base ** -exponents * hp.rope_scale
        if self.freq_factors is not None:
            frequencies = frequencies / self.freq_factors.double()
        angles = positions.double()[:, None] * frequencies[None, :]
        cos, sin = angles.cos().float()[:, None, :], angles.sin().float()[:, None, :]
        rotated, rest = x[..., :hp.n_rot], x[..., hp.n_rot:]
        if hp.arch in NEOX_ARCHITECTURES:
            first, second = rotated.chunk(2, dim=-1)
            out = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
        else:
            first, second = rotated[..., 0::2], rotated[..., 1::2]
            out = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
            out = out.flatten(-2)
        return torch.cat([out, rest], dim=-1)

    def heads(self, a, layer, part, n_heads, positions):
        """Projection `part` (q, k or v) of the normed rows; q and k normed (qwen3) and rotated."""
        x = self.linear(a, f"blk.{layer}.attn_{part}").unflatten(-1, (n_heads, -1))
        norm_name = f"blk.{layer}.attn_{part}_norm.weight"
        if norm_name in self.weights:
            x = self.norm(x, norm_name)
        return x if part == "v" else self.rope(x, positions)

    def probabilities(self, q, q_positions, k, k_positions):
        """Softmax of q against k: [heads, queries, keys]; a query sees positions up to its own."""
        group = self.hparams.n_head // self.hparams.n_head_kv
        k = k.repeat_interleave(group, dim=1)
        weights = torch.einsum("qhd,khd->hqk", q, k) / self.hparams.head_dim ** 0.5
        hidden = k_positions[None, :] > q_positions[:, None]
        return weights.masked_fill(hidden[None], float("-inf")).softmax(-1)

    def attend(self, q, q_positions, k, k_positions, v, layer):
        group = self.hparams.n_head // self.hparams.n_head_kv
        p = self.probabilities(q, q_positions, k, k_positions)
        mixed = torch.einsum("hqk,khd->qhd", p, v.repeat_interleave(group, dim=1))
        return self.linear(mixed.flatten(1), f"blk.{layer}.attn_output")

    def ffn(self, x, layer):
        if f"blk.{layer}.ffn_gate_inp.weight" in self.weights:
            return self.experts(x, layer)
        gate = F.silu(self.linear(x, f"blk.{layer}.ffn_gate"))
        return self.linear(gate * self.linear(x, f"blk.{layer}.ffn_up"), f"blk.{layer}.ffn_down")

    def experts(self, x, layer):
        """Mixtral: softmax over all experts, the best few, weights renormalised to one."""
        used = self.hparams.n_experts_used
        p = self.linear(x, f"blk.{layer}.ffn_gate_inp").softmax(-1)
        best, chosen = p.topk(min(used + 1, self.hparams.n_experts), dim=-1)
        if best.shape[-1] > used:
            self.router_gaps += ((best[:, used - 1] - best[:, used]) / best[:, used - 1]).tolist()
        best, chosen = best[:, :used], chosen[:, :used]
        best = best / best.sum(-1, keepdim=True)
        gate, up, down = (self.weights[f"blk.{layer}.ffn_{part}_exps.weight"]
                          for part in ("gate", "up", "down"))
        out = []
        for row, expert_weights, experts in zip(x, best, chosen):
            results = [F.linear(F.silu(F.linear(row, gate[e])) * F.linear(row, up[e]), down[e])
                       for e in experts.tolist()]
            out.append((torch.stack(results) * expert_weights[:, None]).sum(0))
        return torch.stack(out) if out else x

    def logits(self, hidden):
        """Final norm and output head; the head is the embedding when the file has no other."""
        head = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return F.linear(self.norm(hidden, "output_norm.weight"), head)


# ---------------------------------------------------------------------------------------- selection


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


# ---------------------------------------------------------------------------------------- sequence


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
        h = self.model.weights["token_embd.weight"][torch.tensor(tokens)]
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
        return self.model.probabilities(q, asking, k, positions).sum((0, 1)).tolist()

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
