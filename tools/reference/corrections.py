"""Corrections and probes of a plan's changed layers, fitted in PyTorch: an independent reading of
the method (docs/layer-selection.md), with every row at hand, in double, by a singular value
decomposition where the engine gathers moments.

python corrections.py MODEL.gguf PLAN.json TEXT... [--rank 64] [--ridge 0.01] [--probe]
    [--ctx 2048] [--windows N] [--test TEXT]

fits on the first N windows of each text and prints what is explained, layer by layer; then the
perplexity of the first N windows of the text of --test, dense, with the plan as it is, and fitted.
"""

import argparse
import math
from dataclasses import dataclass, replace

import torch

from model import Model
from plan import Correction, LayerPlan, load_plan
from sequence import Sequence, Step


def mean(x, weights=None):
    return x.mean(0) if weights is None else (weights[:, None] * x).sum(0) / weights.sum()


def centred(x, weights=None):
    """Without the mean; a weight stands as its root in each row, so that squares count by it."""
    rest = x - mean(x, weights)
    return rest if weights is None else weights.sqrt()[:, None] * rest


def ridge_regression(x, y, ridge, weights=None):
    """(Xc'Xc + ridge * mean diagonal * I)^-1 Xc'Yc."""
    xc = centred(x, weights)
    system = xc.T @ xc
    system += ridge * system.diagonal().mean() * torch.eye(len(system), dtype=x.dtype)
    return torch.linalg.solve(system, xc.T @ centred(y, weights))


def fit_correction(a, d, rank, ridge, weights=None):
    """The correction, in double, of rows a and what is to be added to them."""
    w = ridge_regression(a, d, ridge, weights)
    v = torch.linalg.svd(centred(a, weights) @ w, full_matrices=False).Vh[:rank].T
    down, up = w @ v, v.T
    return Correction(down, up, mean(d, weights) - mean(a, weights) @ down @ up)


def corrected(correction, h, a):
    return h + correction.bias + a @ correction.down @ correction.up


def as_float(correction):
    return Correction(*(getattr(correction, name).float() for name in ("down", "up", "bias")))


@dataclass
class Fit:
    plan: LayerPlan
    n_rows: int = 0  # that the correction was fitted on
    explained: float = 0.0
    r_squared: float = None
    gap: float = math.inf  # how near the nearest choice of a row was to another one


def run_layer(model, layer, plan, h):
    """One layer on the hidden states of a whole window; also what it chose."""
    step = Step()
    return Sequence(model).layer(layer, plan, h, torch.arange(len(h)), step), step


def fit_probe(model, layer, hidden, targets, a, d, rank, ridge):
    """w and its R^2: the gain of computing a row where all rows are corrected, regressed on a."""
    correction = fit_correction(torch.cat([x[1:] for x in a]), torch.cat([x[1:] for x in d]),
                                rank, ridge)
    gains = []
    for h, target, normed in zip(hidden, targets, a):
        full, _ = run_layer(model, layer, LayerPlan(), h)
        lost = target.double() - corrected(correction, h.double(), normed)
        gains.append((lost.norm(dim=1) - (target - full).double().norm(dim=1))[1:])
    x, g = torch.cat([x[1:] for x in a]), torch.cat(gains)
    w = ridge_regression(x, g[:, None], ridge)[:, 0]
    rest = centred(g) - centred(x) @ w
    return w, 1 - float(rest.square().sum() / centred(g).square().sum())


def fit_layer(model, layer, plan, hidden, targets, rank, ridge):
    """hidden, targets: per window h before and h* behind the layer."""
    plan = replace(plan, correction=None, probe=None)
    a = [model.norm(h, f"blk.{layer}.attn_norm.weight").double() for h in hidden]
    d = [(target - h).double() for h, target in zip(hidden, targets)]
    fit = Fit(plan)
    if plan.policy == "probe" and plan.action == "select":
        w, fit.r_squared = fit_probe(model, layer, hidden, targets, a, d, rank, ridge)
        plan = replace(plan, probe=w.float())
    rows_a, rows_d = [], []
    for h, normed, difference in zip(hidden, a, d):
        left = torch.arange(len(h)) > 0
        if plan.action == "select":
            _, step = run_layer(model, layer, plan, h)
            left[step.rows[layer]] = False
            fit.gap = min(fit.gap, step.gap)
        rows_a.append(normed[left])
        rows_d.append(difference[left])
    x, y = torch.cat(rows_a), torch.cat(rows_d)
    correction = fit_correction(x, y, rank, ridge)
    rest = y - corrected(correction, 0, x)
    fit.n_rows, fit.explained = len(x), 1 - float(rest.square().sum() / y.square().sum())
    fit.plan = replace(plan, correction=as_float(correction))
    return fit


def fit_plan(model, windows, plan, rank, ridge, on_layer=lambda layer, fit: None):
    """{layer: Fit} for every layer that the plan changes; the states of all windows go along."""
    dense = [model.embed(window) for window in windows]
    hidden, fits = list(dense), {}
    for layer in range(model.hparams.n_layers):
        behind = [run_layer(model, layer, LayerPlan(), h)[0] for h in dense]
        this = plan.get(layer, LayerPlan())
        if this.action != "dense":
            fits[layer] = fit_layer(model, layer, this, hidden, behind, rank, ridge)
            on_layer(layer, fits[layer])
            this = fits[layer].plan
        hidden = [run_layer(model, layer, this, h)[0] for h in hidden] if fits else behind
        dense = behind
    return fits


def main():
    from perplexity import tokenize, window_nll

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("plan")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--ridge", type=float, default=0.01)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--ctx", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--test")
    args = parser.parse_args()

    def windows_of(path):
        tokens = tokenize(args.model, path)
        return [tokens[i * args.ctx:(i + 1) * args.ctx] for i in range(args.windows)]

    def report(layer, fit):
        print(f"layer {layer}: {fit.n_rows} rows, explained {fit.explained:.4f}, probe "
              f"{fit.r_squared}", flush=True)

    model, plan = Model(args.model), load_plan(args.plan)
    if args.probe:
        plan = {layer: replace(this, policy="probe") if this.action == "select" else this
                for layer, this in plan.items()}
    windows = [window for path in args.text for window in windows_of(path)]
    with torch.no_grad():
        fits = fit_plan(model, windows, plan, args.rank, args.ridge, report)
        fitted = {layer: fit.plan for layer, fit in fits.items()}
        if args.test:
            test = windows_of(args.test)
            for name, this in ("dense", {}), ("plan", load_plan(args.plan)), ("fitted", fitted):
                nlls = [window_nll(model, window, this) for window in test]
                print(f"{name}: perplexity {math.exp(sum(nlls) / len(nlls)):.4f}", flush=True)


if __name__ == "__main__":
    main()
