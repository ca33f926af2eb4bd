#!/usr/bin/env python3
"""The README's table of quality: perplexity and divergence on both texts, zero-shot means, by plan.

    bench/quality.py -m MODEL.gguf --data DATA --windows 8 --limit 100 --out bench/quality-BF16 PLAN...

Runs `orthorank perplexity --protocol paper --kl` on the dense model and all plans, and two controls
of the plan named with --controls: its layers with the reversed order and with random rows; and
`orthorank eval --tasks five` on the dense model and the plans, but not those of --perplexity-only.
Writes OUT.json (perplexity), OUT-zero-shot.json, and prints the table as Markdown. A part whose file
is there is not run again.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTROLS = ["orthogonal-reverse", "random"]  # policies


def control_plans(path, folder):
    """Copies of a plan with another policy in every selecting layer."""
    plans = []
    for policy in CONTROLS:
        plan = json.loads(pathlib.Path(path).read_text())
        if "tensors" in plan:
            plan["tensors"] = str(pathlib.Path(path).resolve().parent / plan["tensors"])
        for layer in plan["layers"]:
            layer.pop("seed", None)
            if layer["action"] == "select":
                layer["policy"] = policy
        plans.append(pathlib.Path(folder) / f"{pathlib.Path(path).stem}-{policy}.json")
        plans[-1].write_text(json.dumps(plan))
    return plans


def options(plans):
    return [word for plan in plans for word in ("--plan", plan)]


def run(out, command, plans):
    """The results in `out`, made by the command where they are not there."""
    if out.exists():
        print(f"{out} is there: not run again", file=sys.stderr)
    else:
        subprocess.run([*command, *options(plans), "--json", out], check=True)
    results = json.loads(out.read_text())["results"]
    missing = {pathlib.Path(plan).name for plan in plans} - {r["plan"] for r in results}
    if missing:
        sys.exit(f"{out} has no results of {', '.join(sorted(missing))}: remove it")
    return results


def with_error(result, scale=1.0, digits=2):
    error = result.get("se")
    text = f"{scale * result['value']:.{digits}f}"
    return text if error is None else f"{text} ± {scale * error:.{digits}f}"


def table(perplexities, tasks):
    """A row a plan: sparsity, per text perplexity and KL, the mean of five and its difference."""
    sets = ["wikitext-2", "c4"]
    ppl = {(r["plan"], r["set"]): r for r in perplexities}
    means = {r["plan"]: r for r in tasks if r["task"].startswith("mean")}
    lines = ["| plan | effective sparsity | WikiText-2 | KL | C4 | KL | mean of five | to dense |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for plan in dict.fromkeys(r["plan"] for r in perplexities):
        row = [plan or "dense", f"{100 * ppl[plan, sets[0]]['effective_sparsity']:.1f}%"]
        for name in sets:
            result = ppl[plan, name]
            row += [f"{result['ppl']:.2f}", f"{result['kl']['mean']:.3f}" if plan else ""]
        mean = means.get(plan)
        row.append(with_error(mean, 100, 1) if mean else "")
        has_difference = mean and mean["difference"] is not None
        row.append(f"{100 * mean['difference']:+.1f} ± {100 * mean['difference_se']:.1f}"
                   if has_difference else "")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--windows", type=int, default=8, help="of 2048 tokens, of each text")
    parser.add_argument("--limit", type=int, default=100, help="documents of each task; 0: no tasks")
    parser.add_argument("--controls", metavar="PLAN", help="also its layers with other rows")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="path without .json")
    parser.add_argument("--program", default=os.path.relpath(ROOT / "build/orthorank"))
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--perplexity-only", action="append", default=[], metavar="PLAN")
    parser.add_argument("plans", nargs="+")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plans = a.plans + a.perplexity_only
        plans += control_plans(a.controls, folder) if a.controls else []
        common = ["-m", a.model, "--data", a.data]
        common += ["--threads", str(a.threads)] if a.threads else []
        perplexities = run(a.out.with_name(a.out.name + ".json"),
                           [a.program, "perplexity", "--protocol", "paper", "--kl", "--windows",
                            str(a.windows), *common], plans)
        tasks = [] if a.limit == 0 else run(
            a.out.with_name(a.out.name + "-zero-shot.json"),
            [a.program, "eval", "--tasks", "five", "--limit", str(a.limit), *common], a.plans)
    print(table(perplexities, tasks))


if __name__ == "__main__":
    main()
