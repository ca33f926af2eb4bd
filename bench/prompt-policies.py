#!/usr/bin/env python3
"""Plans for prompts that differ in how rows are picked and in nothing else, for bench/prompt-curve.py.

    bench/prompt-curve.py ... $(bench/prompt-policies.py -m MODEL.gguf --calibration TEXT... --out FOLDER)

For each policy one greedy search on the same windows finds its own layers; the first of them make the
smaller plans. Then corrections are fitted to a copy of each plan, and for the policies of --once to one
whose layers compute the rows that the first of them picks (inherit). The fitted score (probe) has the
layers of --probe-layers' policy. Plans that are there are not made again. Prints METHOD=PLAN,... for each
kind of plan.
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLICIES = "orthogonal,orthogonal-reverse,random,norm-up,norm-down,query,attention-output"


class Maker:
    def __init__(self, a):
        self.a = a

    def make(self, name, *options):
        """The plan FOLDER/NAME.json, made by select-layers where it is not there."""
        a, path = self.a, self.a.out / f"{name}.json"
        if not path.exists():
            command = [a.program, "select-layers", "-m", a.model, *a.threads, *options, "-o", path]
            print("==", *command, file=sys.stderr, flush=True)
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
                sys.exit(1)  # orthorank has said why
        return path

    def calibration(self, windows):
        return ["--calibration", *self.a.calibration, "--seqlen", str(self.a.seqlen),
                "--windows", str(windows)]

    def searched(self, policy):
        """Its plans, one for each of --layers, all of one search."""
        a = self.a
        whole = self.make(f"{policy}-{max(a.layers)}", *self.calibration(a.windows), "--objective", "continuation",
                          "--method", "sleb", "--race", "--ratio", str(a.ratio), "--policy", policy,
                          "--keep-last", str(a.keep_last), "--retrieval", str(a.retrieval),
                          "--layers", str(max(a.layers)))
        return [whole if n == max(a.layers) else
                self.make(f"{policy}-{n}", "--from", whole, "--layers", str(n)) for n in a.layers]

    def fitted(self, name, plans, *options):
        return [self.make(f"{name}-{n}", "--refit", plan, "--correct", str(self.a.rank),
                          *self.calibration(self.a.fit_windows), "--stride", str(self.a.stride), *options)
                for n, plan in zip(self.a.layers, plans, strict=True)]


def kinds(maker):
    """Pairs of a kind of plan and its plans."""
    for policy in maker.a.policies:
        plans = maker.searched(policy)
        yield policy, plans
        yield f"{policy}+correction", maker.fitted(f"{policy}-corrected", plans)
        if policy in maker.a.once:
            yield f"{policy}+correction,once", maker.fitted(f"{policy}-once", plans, "--inherit")
        if policy == maker.a.probe_layers:
            yield "probe+correction", maker.fitted("probe-corrected", plans, "--policy", "probe")
            yield "probe+correction,once", maker.fitted("probe-once", plans, "--policy", "probe", "--inherit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--calibration", required=True, nargs="+", metavar="TEXT")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--policies", type=lambda text: text.split(","), default=POLICIES.split(","))
    parser.add_argument("--once", type=lambda text: text.split(","), metavar="POLICIES",
                        default=["orthogonal", "query", "attention-output"])
    parser.add_argument("--probe-layers", default="orthogonal", metavar="POLICY")
    parser.add_argument("--layers", type=lambda text: sorted(map(int, text.split(","))), default=[10, 17],
                        help="selecting layers of the plans")
    parser.add_argument("--ratio", type=float, default=0.1, help="of the rows they compute")
    parser.add_argument("--keep-last", type=int, default=64)
    parser.add_argument("--seqlen", type=int, default=1024)
    parser.add_argument("--stride", type=int, default=12288, help="of the windows that fit")
    parser.add_argument("--windows", type=int, default=1, help="of each text, for the search")
    parser.add_argument("--retrieval", type=int, default=2, help="windows that ask for a number, for the search")
    parser.add_argument("--fit-windows", type=int, default=4, help="of each text")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--program", default=os.path.relpath(ROOT / "build/orthorank"))
    a = parser.parse_args()
    a.threads = ["--threads", str(a.threads)] if a.threads else []
    a.out.mkdir(parents=True, exist_ok=True)
    for kind, plans in kinds(Maker(a)):
        print(f"{kind}={','.join(map(str, plans))}")


if __name__ == "__main__":
    main()
