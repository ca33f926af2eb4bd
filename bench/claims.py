#!/usr/bin/env python3
"""The claims of kept reproductions side by side, as a Markdown table.

    bench/claims.py [--all] FOLDER [FOLDER]...

FOLDER is what `orthorank reproduce -o FOLDER` left. One row a claim, one column a model, with the difference and its
standard error where the claim has one. Without --all, claims about the answers to tasks that are within the noise in
every folder are counted below in place of a row each. Python's standard library only.
"""

import argparse
import json
from pathlib import Path

SHORT = {"holds": "holds", "does not hold": "**does not**", "within the noise": "noise"}
UNITS = {"nats a token": "nats", "points": "points", "of the logarithm of the throughput": "ln speed"}


def claims_of(folder):
    """Each claim once, in the report's order: by its text the claim and the entries that support it."""
    results = json.loads((folder / "reproduce.json").read_text())["results"]
    found = {}
    for entry in results:
        for claim in entry["claims"]:
            found.setdefault(claim["text"], (claim, []))[1].append(entry["name"])
    return found


def cell(claim):
    if claim is None:
        return ""
    outcome = SHORT.get(claim["outcome"], claim["outcome"])
    if claim["difference"] is None or claim["se"] is None:
        return outcome
    unit = UNITS.get(claim["unit"], "")
    return f"{outcome} ({claim['difference']:+.3g} ± {claim['se']:.2g}{' ' + unit if unit else ''})"


def name_of(text):
    """A statement of the paper's text has a name before its colon, which is enough here."""
    head, _, _ = text.partition(": ")
    return head if head.startswith(("Observation", "Equation", "Appendix", "Attention")) else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    found = [claims_of(folder) for folder in arguments.folders]
    names = [folder.name.removeprefix("reproduce-") for folder in arguments.folders]
    texts = list(dict.fromkeys(text for claims in found for text in claims))
    print("| claim | " + " | ".join(names) + " | from |\n|---|" + "---|" * (len(names) + 1))
    n_left_out = 0
    for text in texts:
        pairs = [claims.get(text, (None, [])) for claims in found]
        claims = [claim for claim, _ in pairs if claim]
        is_told = any(c["outcome"] != "within the noise" or c["unit"] != "points" for c in claims)
        if not is_told and not arguments.all:
            n_left_out += 1
            continue
        entries = list(dict.fromkeys(entry for _, entries in pairs for entry in entries))
        cells = [cell(claim) for claim, _ in pairs]
        print(f"| {name_of(text)} | " + " | ".join(cells) + f" | {', '.join(entries)} |")
    for name, claims in zip(names, found):
        outcomes = [claim["outcome"] for claim, _ in claims.values()]
        counts = [outcomes.count(outcome) for outcome in SHORT]
        told = "{} hold, {} do not, {} are within the noise".format(*counts)
        print(f"\n{name}: of {len(outcomes)} claims {told}.", end="")
    print(f" Left out above: {n_left_out} about answers to tasks, all within the noise." if n_left_out else "")


if __name__ == "__main__":
    main()
