#!/usr/bin/env python3
"""The picture of plans for prompts: loss of what follows against time to first token, a curve a method.

    bench/prompt-curve.py -m MODEL.gguf --data DATA --out bench/curve-NAME \
        "OrthoRank=a-20.json,a-30.json" "joint=b-20.json,b-30.json" ...

Measures every plan: `orthorank perplexity --continuation` on both texts of the paper, `orthorank eval
--tasks passkey`, and `orthorank bench --ttft`, beside the dense model and libllama. OUT.json has all of it;
what is there for a plan's files as they are is not measured again, so more plans can be added and an
interrupted run goes on. OUT-LENGTH.svg is drawn for each length of --ttft: the loss ratio, the mean of both
texts, against the time to first token, per cent of the dense model's in the same run. Prints the table as
Markdown. Run it with nothing else running.
"""
import argparse
import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["wikitext-2", "c4"]  # of --protocol paper


def plan_hash(path):
    """Of the plan's two files, but not of what was recorded of it in either."""
    plan = json.loads(path.read_text())
    for key in ("measured", "provenance"):
        plan.pop(key, None)
    content = json.dumps(plan, sort_keys=True).encode()
    if any("correction" in layer or layer.get("policy") == "probe" for layer in plan["layers"]):
        content += (path.parent / plan.get("tensors", path.stem + ".gguf")).read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def read_points(methods):
    """A point for each plan of each METHOD=PLAN,..."""
    points = []
    for text in methods:
        method, _, plans = text.partition("=")
        if not plans:
            sys.exit(f"{text}: say METHOD=PLAN,PLAN")
        for plan in plans.split(","):
            path = pathlib.Path(plan)
            if not path.exists():
                sys.exit(f"{plan}: no such file")
            points.append({"method": method, "plan": path.name, "path": str(path),
                           "hash": plan_hash(path)})
    return points


class Study:
    """OUT.json: settings, and per plan (by its hash) what was measured of it."""

    def __init__(self, out, settings):
        self.path = out.with_name(out.name + ".json")
        self.content = {"settings": settings, "points": {}, "reference": {"ttft": {}}}
        if self.path.exists():
            self.content = json.loads(self.path.read_text())
            found = self.content["settings"]
            other = [key for key in settings if found.get(key) != settings[key]]
            if other:
                sys.exit(f"{self.path} has other settings ({', '.join(other)}): name another --out")

    def of(self, point):
        return self.content["points"].setdefault(point["hash"], {"loss": {}, "passkey": {}, "ttft": {}})

    def missing(self, points, has):
        """Those without a result, each plan once."""
        return list({p["hash"]: p for p in points if not has(self.of(p))}.values())

    def save(self):
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps(self.content, indent=1) + "\n")
        new.replace(self.path)


def run(*command):
    """The results of an orthorank command."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "results.json"
        command = [str(word) for word in command]
        print("==", *command, file=sys.stderr, flush=True)
        if subprocess.run([*command, "--json", out], stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit(1)  # orthorank has said why
        return json.loads(out.read_text())["results"]


def plan_options(points):
    return [word for p in points for word in ("--plan", p["path"])]


def in_order(results, points):
    """Pairs of a point and its result; results have the dense model first, then the plans in order."""
    plans = [r for r in results if r["plan"] is not None]
    assert len(plans) == len(points), "as many results as plans"
    return zip(points, plans)


def measure_loss(study, a, points):
    points = study.missing(points, lambda found: found["loss"])
    if not points:
        return
    results = run(a.program, "perplexity", "-m", a.model, "--protocol", "paper", "--data", a.data,
                  "--ctx", a.ctx, "--windows", a.windows, "--continuation", a.continuation,
                  *a.threads, *plan_options(points))
    for text in TEXTS:
        for point, result in in_order([r for r in results if r["set"] == text], points):
            study.of(point)["loss"][text] = {"ratio": result["ratio_to_dense"],
                                             "se": result["ratio_se"]}
            study.of(point)["effective_sparsity"] = result["effective_sparsity"]
    study.save()


def measure_passkeys(study, a, points):
    for length in a.passkey:
        left = study.missing(points, lambda found: str(length) in found["passkey"])
        if not left:
            continue
        results = run(a.program, "eval", "-m", a.model, "--tasks", "passkey", "--text", a.text,
                      "--lengths", length, "--count", a.count, "--apply", "prefill", *a.threads,
                      *plan_options(left))
        for point, result in in_order(results, left):
            study.of(point)["passkey"][str(length)] = {
                key: result[key] for key in ("value", "se", "difference", "difference_se", "n_docs")}
        study.save()


def measure_times(study, a, points):
    for length in a.ttft:
        left = study.missing(points, lambda found: str(length) in found["ttft"])
        if not left:
            continue
        arms = ",".join(["libllama", "dense", *(p["path"] for p in left)])
        results = run(a.program, "bench", "-m", a.model, "--arms", arms, "--ttft", length, "-f", a.text,
                      "--repetitions", a.repetitions, *a.threads)
        libllama, dense, *plans = results
        for key, result in (("libllama", libllama), ("dense", dense)):
            study.content["reference"]["ttft"].setdefault(str(length), {})[key] = result["seconds_median"]
        for point, result in zip(left, plans, strict=True):
            study.of(point)["ttft"][str(length)] = {
                "seconds": result["seconds_median"], "dense_seconds": dense["seconds_median"],
                "over_dense": result["speed_up_over_dense"],
                "over_libllama": result["speed_up_over_libllama"], "bound": result["speed_up_bound"]}
        study.save()


def mean_ratio(found):
    return math.exp(sum(math.log(found["loss"][text]["ratio"]) for text in TEXTS) / len(TEXTS))


def draw(study, a, points, length):
    """Every curve begins at the dense model and goes to shorter times."""
    lines = []
    for method in dict.fromkeys(p["method"] for p in points):
        ends = sorted(((100 / study.of(p)["ttft"][str(length)]["over_dense"]["median"],
                        mean_ratio(study.of(p))) for p in points if p["method"] == method), reverse=True)
        x, y = zip((100.0, 1.0), *ends)
        lines.append({"name": method, "x": x, "y": y})
    first = 10 * math.floor(min(x for line in lines for x in line["x"]) / 10)
    last = 10 * math.ceil(max(x for line in lines for x in line["x"]) / 10)
    plot = {"title": f"{a.name}: perplexity of the continuation over dense, by time to first token",
            "x_label": f"time to first token after {length} tokens, % of the dense model's",
            "x_ticks": list(range(first, last + 1, 10)),
            "y_label": "perplexity of the continuation over dense", "lines": lines}
    svg = subprocess.run([a.plot], input=json.dumps(plot), text=True, capture_output=True, check=True)
    path = a.out.with_name(f"{a.out.name}-{length}.svg")
    path.write_text(svg.stdout)
    print(f"{path}: drawn", file=sys.stderr)


def table(study, a, points):
    head = ["method", "plan", "sparsity", *TEXTS, *(f"keys at {n}" for n in a.passkey)]
    for n in a.ttft:
        head += [f"first token after {n}", "over dense", "bound"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for p in points:
        found = study.of(p)
        row = [p["method"], p["plan"], f"{100 * found['effective_sparsity']:.1f}%"]
        for text in TEXTS:
            loss = found["loss"][text]
            row.append(f"{loss['ratio']:.3f} ± {loss['se'] or math.nan:.3f}")
        for n in a.passkey:
            keys = found["passkey"][str(n)]
            row.append(f"{100 * keys['value']:.0f}% ({100 * keys['difference']:+.0f})")
        for n in a.ttft:
            time = found["ttft"][str(n)]
            ratio = time["over_dense"]
            row += [f"{time['seconds']:.2f} s", f"{ratio['median']:.3f} ({ratio['q1']:.3f}-{ratio['q3']:.3f})",
                    f"{time['bound']:.3f}"]
        lines.append("| " + " | ".join(row) + " |")
    for n in a.ttft:
        times = study.content["reference"]["ttft"].get(str(n))
        if times:
            lines.append(f"\nFirst token after {n} in the last run: dense {times['dense']:.2f} s, "
                         f"libllama {times['libllama']:.2f} s.")
    return "\n".join(lines)


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--text", help="for pass keys and times (default: WikiText-2's test text of --data)")
    parser.add_argument("--name", help="of the model, in the picture (default: its file's)")
    parser.add_argument("--ctx", type=int, default=2048, help="tokens in a window")
    parser.add_argument("--windows", type=int, default=32, help="of each text")
    parser.add_argument("--continuation", type=int, default=256, help="the last tokens of a window")
    parser.add_argument("--passkey", type=numbers, default=[2048], help="lengths; '': none")
    parser.add_argument("--count", type=int, default=20, help="pass keys of each length and depth")
    parser.add_argument("--ttft", type=numbers, default=[2048, 8192], help="prompt lengths")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--program", default=os.path.relpath(ROOT / "build/orthorank"))
    parser.add_argument("--plot", default=os.path.relpath(ROOT / "build/tools/plot"))
    parser.add_argument("--out", required=True, type=pathlib.Path, help="path without .json")
    parser.add_argument("methods", nargs="+", metavar="METHOD=PLAN,...")
    a = parser.parse_args()
    a.name = a.name or pathlib.Path(a.model).stem
    a.threads = ["--threads", a.threads] if a.threads else []
    a.text = a.text or next(iter(sorted(pathlib.Path(a.data).glob("wikitext*/wiki.test.raw"))), None)
    if a.text is None:
        sys.exit(f"{a.data} has no wikitext*/wiki.test.raw: name a --text")
    points = read_points(a.methods)
    study = Study(a.out, {"model": pathlib.Path(a.model).name, "ctx": a.ctx, "windows": a.windows,
                          "continuation": a.continuation, "count": a.count})
    measure_loss(study, a, points)
    measure_passkeys(study, a, points)
    measure_times(study, a, points)
    study.content["curves"] = [{key: p[key] for key in ("method", "plan", "hash")} for p in points]
    study.save()
    for length in a.ttft:
        draw(study, a, points, length)
    print(table(study, a, points))


if __name__ == "__main__":
    main()
