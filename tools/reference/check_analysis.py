"""Compares an analysis of a model of any size with the PyTorch reading.

python check_analysis.py MODEL.gguf ANALYSIS.json

ANALYSIS.json: what `orthorank analyze --no-sweep --tokens 101 --kernels exact --kv-type f32` wrote
for the same file. Prints the largest differences.
"""

import json
import sys

import numpy as np
import torch

from make_analysis import analysis_of


def largest(differences):
    return float(np.max(np.abs(np.concatenate([np.ravel(x) for x in differences]))))


def main():
    torch.set_num_threads(2)
    with open(sys.argv[2]) as file:
        found = json.load(file)
    expected = analysis_of(sys.argv[1], found["tokens"])
    pairs = list(zip(found["results"], expected["layers"], strict=True))
    print("cosines with the first row:", largest(
        [np.subtract(a["sink_cosines"], b["sink_cosines"]) for a, b in pairs]))
    print("norms, relative:", largest(
        [np.divide(a["norms"], b["norms"]) - 1 for a, b in pairs]))
    print("attention on the first key:", largest(
        [np.subtract(a["sink_attention"], b["sink_attention"]) for a, b in pairs]))
    for position in (0, 50, 100):
        figure = next(x for x in found["figures"]
                      if x["name"] in (f"figure-3-position-{position}",
                                       f"figure-9-position-{position}"))
        rows = [[value for name, value in row.items() if name != "layer"]
                for row in figure["rows"]]
        print(f"position {position} across layers:",
              largest([np.subtract(rows, expected["across"][str(position)])]))
    print("l_sink:", found["l_sink"], expected["l_sink"])
    for key in ("correlation", "overlap"):
        print(f"policies, {key}:", largest(
            [[a["policies"][name][key] - values[key] for name, values in b["agreements"].items()]
             for a, b in pairs]))


if __name__ == "__main__":
    main()
