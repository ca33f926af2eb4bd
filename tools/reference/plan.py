"""Plans of the reference: what each layer does."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import torch

from model import read_weights

POLICIES = (
    "orthogonal", "orthogonal-reverse", "orthogonal-raw", "orthogonal-no-kv", "random",
    "norm-up", "norm-down", "attention-up", "cosine", "query", "attention-output",
)
FITTED_POLICIES = ("probe",)
LARGEST_FIRST = ("orthogonal-reverse", "norm-up", "attention-up", "probe", "query",
                 "attention-output")
WHOLE_PROMPT = ("attention-up", "query")  # no scores for decoded tokens


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
