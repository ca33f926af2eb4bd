"""A decoder LLM in plain PyTorch, F32: what the reference's layers are made of.

All weights are dequantised to F32; clear before fast: one sequence, every row in one piece.
"""

from dataclasses import dataclass

import gguf
import numpy as np
import torch
import torch.nn.functional as F

NEOX_ARCHITECTURES = ("qwen2", "qwen3", "gemma3")
GEMMA3_WINDOW_PERIOD = 6  # of so many layers the last sees everything
GEMMA3_LOCAL_ROPE_BASE = 10000.0


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
    window: int  # positions that a windowed layer sees, its own counted; 0: no layer has one


def read_hparams(reader):
    arch = field_value(reader, "general.architecture")
    if arch not in ("llama", "qwen2", "qwen3", "gemma3"):
        raise ValueError(f"architecture {arch} is not one of llama, qwen2, qwen3, gemma3")

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
        n_experts=get("expert_count", 0), n_experts_used=get("expert_used_count", 0),
        window=get("attention.sliding_window", 0) if arch == "gemma3" else 0)


def read_weights(reader):
    """Every tensor in F32, in PyTorch's order: [out, in], experts [expert, out, in]."""
    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weights[tensor.name] = torch.from_numpy(values.reshape(shape).copy())
    return weights


def gelu(x):
    """By its tangent form, from a table of halves, as ggml has it on a CPU: without that the two
    would differ by its rounding, a part in a thousand."""
    from_table = F.gelu(x.half().float(), approximate="tanh").half().float()
    return torch.where(x.abs() < 10, from_table, F.relu(x))


class Model:
    """A decoder read from a GGUF file. `router_gaps` collects how near each MoE choice was to a
    tie (relative distance of the last expert taken from the first one left out)."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.hparams = read_hparams(reader)
        self.weights = read_weights(reader)
        self.freq_factors = self.weights.get("rope_freqs.weight")
        self.router_gaps = []

    def embed(self, tokens):
        """Gemma 3 multiplies by the root of the width."""
        rows = self.weights["token_embd.weight"][torch.tensor(tokens)]
        return rows * self.hparams.n_embd ** 0.5 if self.hparams.arch == "gemma3" else rows

    def window(self, layer):
        """How many positions a query of this layer sees, its own counted; None: all before it."""
        is_global = layer % GEMMA3_WINDOW_PERIOD == GEMMA3_WINDOW_PERIOD - 1
        return None if self.hparams.window == 0 or is_global else self.hparams.window

    def norm(self, x, name):
        """RMSNorm with its learned weight (orthorank's hbar when `name` is the attention norm)."""
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.hparams.eps) * self.weights[name]

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def rope(self, x, layer, positions):
        """Rotates [rows, heads, head_dim]: pairs (2i, 2i+1), or (i, i + n_rot/2) for NEOX."""
        hp = self.hparams
        is_local = self.window(layer) is not None
        base, scale = (GEMMA3_LOCAL_ROPE_BASE, 1.0) if is_local else (hp.rope_base, hp.rope_scale)
        exponents = torch.arange(0, hp.n_rot, 2, dtype=torch.float64) / hp.n_rot
        frequencies = base ** -exponents * scale
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
        """Projection `part` (q, k or v) of the normed rows; q and k normed (qwen3, gemma3) and
        rotated."""
        x = self.linear(a, f"blk.{layer}.attn_{part}").unflatten(-1, (n_heads, -1))
        norm_name = f"blk.{layer}.attn_{part}_norm.weight"
        if norm_name in self.weights:
            x = self.norm(x, norm_name)
        return x if part == "v" else self.rope(x, layer, positions)

    def probabilities(self, q, q_positions, k, k_positions, layer):
        """Softmax of q against k: [heads, queries, keys]; a query sees positions up to its own, in
        a windowed layer the last of them."""
        group = self.hparams.n_head // self.hparams.n_head_kv
        k = k.repeat_interleave(group, dim=1)
        weights = torch.einsum("qhd,khd->hqk", q, k) / self.hparams.head_dim ** 0.5
        distance = q_positions[:, None] - k_positions[None, :]
        hidden = distance < 0
        if self.window(layer) is not None:
            hidden |= distance >= self.window(layer)
        return weights.masked_fill(hidden[None], float("-inf")).softmax(-1)

    def attend(self, q, q_positions, k, k_positions, v, layer):
        group = self.hparams.n_head // self.hparams.n_head_kv
        p = self.probabilities(q, q_positions, k, k_positions, layer)
        mixed = torch.einsum("hqk,khd->qhd", p, v.repeat_interleave(group, dim=1))
        return self.post_norm(self.linear(mixed.flatten(1), f"blk.{layer}.attn_output"),
                              f"blk.{layer}.post_attention_norm.weight")

    def post_norm(self, x, name):
        """Gemma 3 norms what a half adds, the others do not."""
        return self.norm(x, name) if name in self.weights else x

    def ffn(self, x, layer):
        if f"blk.{layer}.ffn_gate_inp.weight" in self.weights:
            return self.experts(x, layer)
        gate = self.linear(x, f"blk.{layer}.ffn_gate")
        gate = gelu(gate) if self.hparams.arch == "gemma3" else F.silu(gate)
        out = self.linear(gate * self.linear(x, f"blk.{layer}.ffn_up"), f"blk.{layer}.ffn_down")
        return self.post_norm(out, f"blk.{layer}.post_ffw_norm.weight")

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
