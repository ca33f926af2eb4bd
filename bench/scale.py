#!/usr/bin/env python3
"""Time and memory against length, selecting layers, sequences at once, and on larger shapes.

    bench/scale.py -m MODEL.gguf -f TEXT [length layers batch decode large tail]

Makes synthetic models and plans in build/scale and writes OUT-length.json and so on, with plots
beside them (`orthorank bench` draws them: --svg-scale, --svg-memory). Speed only: the plans select
evenly spread layers and are not calibrated. Run it from the repository, with nothing else running.
"""
import argparse
import json
import pathlib
import subprocess
import sys

WORK = pathlib.Path("build/scale")
SHAPES = {  # file: --shape, --ctx
    "long": ("576,6,9,3,1536,49152", 32768),  # a fifth of the default model's layers
    "llama-1b": ("llama-1b", 4096),
    "llama-3b": ("llama-3b", 4096),
    "gemma4-e2b": ("gemma4-e2b", 4096),
}


def synthetic(name):
    path = WORK / f"{name}.gguf"
    if not path.exists():
        shape, n_ctx = SHAPES[name]
        subprocess.run(["build/tools/synthetic_gguf", path, "--shape", shape, "--type", "q4_0",
                        "--ctx", str(n_ctx)], check=True)
    return path


def all_rows(n_layers):
    """A plan that is dense, but its last layer asks for all rows: nothing before it is left out."""
    path = WORK / f"all-rows-of-{n_layers}.json"
    path.write_text(json.dumps({
        "format": "orthorank-plan", "version": 1, "model": {"n_layers": n_layers},
        "layers": [{"index": n_layers - 1, "action": "select", "ratio": 1.0, "policy": "random"}]}))
    return path


def plan(n_layers, n_selecting):
    """A plan that selects a third of the rows in layers spread from a tenth of the depth on."""
    first = n_layers // 10 + 1
    layers = [first + i * (n_layers - first) // n_selecting for i in range(n_selecting)]
    path = WORK / f"{n_selecting}-of-{n_layers}.json"
    path.write_text(json.dumps({
        "format": "orthorank-plan", "version": 1, "model": {"n_layers": n_layers},
        "layers": [{"index": layer, "action": "select", "ratio": 0.333, "policy": "orthogonal"}
                   for layer in layers]}))
    return path


def bench(out, name, *options, plots=True):
    base = out.with_name(f"{out.name}-{name}")
    command = ["build/orthorank", "bench", *options, "--json", f"{base}.json"]
    if plots:
        command += ["--svg-scale", f"{base}.svg", "--svg-memory", f"{base}-memory.svg"]
    print("==", *command, flush=True)
    if subprocess.run([str(word) for word in command]).returncode != 0:
        sys.exit(1)  # orthorank has said why


def arms(*plans, first="dense"):
    return ["--arms", ",".join([first, *map(str, plans)])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True, help="30 layers, such as the default one")
    parser.add_argument("-f", "--file", required=True, help="a text")
    parser.add_argument("--out", type=pathlib.Path, default="bench/scale", help="without -length.json")
    studies = ["length", "layers", "batch", "decode", "large", "tail"]
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(studies)}; default: all")
    a = parser.parse_args()
    if unknown := set(a.studies) - set(studies):
        parser.error(f"no study of {', '.join(sorted(unknown))}")
    WORK.mkdir(parents=True, exist_ok=True)
    real = ["-m", a.model, "-f", a.file]
    chosen = a.studies or studies
    if "length" in chosen:
        bench(a.out, "length", "-m", synthetic("long"), "--random-tokens", *arms(plan(6, 2)),
              "--prefill", "512,1024,2048,4096,8192,16384,32768", "--repetitions", "2", "--warmup", "0")
    if "layers" in chosen:
        bench(a.out, "layers", *real, *arms(*(plan(30, n) for n in (3, 6, 9, 12, 15))),
              "--prefill", "2048", "--repetitions", "5")
    if "batch" in chosen:
        bench(a.out, "batch", *real, *arms(plan(30, 9)), "--prefill", "2048", "--batch", "1,8,32",
              "--repetitions", "1", "--warmup", "0")  # 32 x 2048 tokens take minutes
    if "decode" in chosen:
        bench(a.out, "decode", *real, *arms(plan(30, 9), first="libllama,dense"),
              "--decode", "32", "--depth", "256", "--batch", "1,8,32", "--repetitions", "5",
              plots=False)
    if "large" in chosen:
        for name, n_layers, n_selecting in (("llama-1b", 16, 5), ("llama-3b", 28, 8)):
            bench(a.out, name, "-m", synthetic(name), "--random-tokens",
                  *arms(plan(n_layers, n_selecting), first="libllama,dense"),
                  "--prefill", "512", "--decode", "16", "--repetitions", "2", plots=False)
    if "tail" in chosen:
        bench(a.out, "tail", "-m", synthetic("gemma4-e2b"), "--random-tokens",
              *arms(all_rows(35), first="libllama,dense"),
              "--prefill", "512", "--repetitions", "3", plots=False)


if __name__ == "__main__":
    main()
