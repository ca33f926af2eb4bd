"""Real clients against `orthorank serve`: lm-evaluation-harness and OpenAI's Python client.

python check_clients.py PROGRAM DATA_DIR [-m MODEL] [--docs 40] [--sparsity 20%]

The first documents of PIQA and ARC-easy are scored twice, dense and under the plan: by
`orthorank eval --apply both`, and by lm-eval's `local-completions` through the server, with task
files written here, the server's own tokenizer and nothing from elsewhere. Log-likelihoods have to
agree. Then OpenAI's client completes, chats and streams. Exit code 1 where something differs.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from served import Server

# The shapes of batches differ, and with them the rounding: from 64 rows on attention has another
# kernel. F32 throughout keeps that small; quantised weights round their inputs, which makes 0.1 a
# token of it.
EXACT = ["--weights", "f32", "--kv-type", "f32", "--kernels", "exact"]
TOLERANCE = 2e-3

TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{gold}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""


def piqa(data, n):
    lines = (data / "piqa/valid.jsonl").read_text().splitlines()[:n]
    labels = (data / "piqa/valid-labels.lst").read_text().split()
    for line, label in zip(lines, labels):
        doc = json.loads(line)
        yield {"question": doc["goal"], "choices": [doc["sol1"], doc["sol2"]], "gold": int(label)}


def arc_easy(data, n):
    for line in (data / "arc/ARC-Easy-Test.jsonl").read_text().splitlines()[:n]:
        doc = json.loads(line)
        choices = doc["question"]["choices"]
        labels = [choice["label"] for choice in choices]
        yield {
            "question": doc["question"]["stem"],
            "choices": [choice["text"] for choice in choices],
            "gold": labels.index(doc["answerKey"]),
        }


TASKS = {"piqa": piqa, "arc-easy": arc_easy}


def write_tasks(folder, data, n):
    for name, documents in TASKS.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(doc) + "\n" for doc in documents(data, n)))
        (folder / f"{name}.yaml").write_text(TASK.format(name="served-" + name, file=path))


def by_eval(program, model, data, n, plan, folder):
    """Log-likelihoods by (task, document)."""
    samples = folder / f"eval-{len(list(folder.glob('eval-*')))}.jsonl"
    command = [program, "eval", "--tasks", ",".join(TASKS), "--data", str(data), "--limit", str(n)]
    command += ["--samples", str(samples), *model, *EXACT]
    command += ["--sparsity", plan, "--no-dense", "--apply", "both"] if plan else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    return {(line["task"], line["doc"]): line["ll"] for line in lines}


def by_harness(url, name, folder, n):
    output = folder / ("harness-" + re.sub(r"\W", "_", name))
    arguments = f"model={name},base_url={url}/v1/completions,tokenizer_backend=remote"
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions"]
    command += ["--model_args", arguments + ",num_concurrent=4,max_retries=3"]
    command += ["--include_path", str(folder), "--tasks", ",".join("served-" + t for t in TASKS)]
    command += ["--log_samples", "--output_path", str(output)]
    environment = dict(os.environ, HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hf"))
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    found = {}
    for path in output.rglob("samples_served-*.jsonl"):
        task = re.match(r"samples_served-(.*?)_\d", path.name).group(1)
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            found[task, sample["doc_id"]] = [float(r[0][0]) for r in sample["resps"]]
    if len(found) != n * len(TASKS):
        sys.exit(f"lm-eval scored {len(found)} documents, expected {n * len(TASKS)}")
    return found


def compare(name, expected, found, max_apart):
    """Prints how far both are apart; whether all but max_apart of them agree."""
    apart = {
        key: max(abs(a - b) for a, b in zip(values, found[key])) for key, values in expected.items()
    }
    n_other_choice = sum(
        max(range(len(values)), key=values.__getitem__)
        != max(range(len(values)), key=found[key].__getitem__)
        for key, values in expected.items()
    )
    n_apart = sum(value > TOLERANCE for value in apart.values())
    print(
        f"{name}: {len(apart)} documents, log-likelihoods differ by "
        f"{statistics.median(apart.values()):.1e} in the median and {max(apart.values()):.1e} at "
        f"most, {n_apart} by more than {TOLERANCE}; "
        f"{n_other_choice} with another choice"
    )
    return n_apart <= max_apart


def check_openai(url, plan):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key="none")
    assert f"served@{plan}" in [model.id for model in client.models.list()]
    text = client.completions.create(
        model="served", prompt="The capital of France is", max_tokens=8, temperature=0, logprobs=2
    )
    assert text.usage.completion_tokens == len(text.choices[0].logprobs.token_logprobs) == 8
    pieces = client.completions.create(
        model="served", prompt="The capital of France is", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text
    echoed = {"model": "served", "prompt": "The capital of France is", "max_tokens": 4}
    echoed.update(temperature=0, logprobs=1, echo=True)
    whole = client.completions.create(**echoed).choices[0]
    pieces = [piece.choices[0] for piece in client.completions.create(**echoed, stream=True)]
    assert pieces[0].text == echoed["prompt"]
    assert "".join(piece.text for piece in pieces) == whole.text
    values = [v for piece in pieces if piece.logprobs for v in piece.logprobs.token_logprobs]
    assert len(values) == len(whole.logprobs.token_logprobs) and values[0] is None
    pairs = list(zip(values, whole.logprobs.token_logprobs))[1:]
    assert all(math.isclose(*pair, abs_tol=1e-3) for pair in pairs)
    messages = [{"role": "user", "content": "Name a colour."}]
    options = {"model": "served", "messages": messages, "max_tokens": 12, "temperature": 0}
    more = {"extra_body": {"orthorank": {"sparsity": plan}}, "logprobs": True, "top_logprobs": 3}
    chat = client.chat.completions.create(**options, **more)
    content = chat.choices[0].logprobs.content
    assert all(len(token.top_logprobs) == 3 for token in content)
    assert all(math.isclose(t.logprob, t.top_logprobs[0].logprob) for t in content)
    assert chat.model_extra["orthorank"]["plan"] is not None
    stream = client.chat.completions.create(**options, extra_body=more["extra_body"], stream=True)
    said = "".join(event.choices[0].delta.content or "" for event in stream)
    assert said == chat.choices[0].message.content, (said, chat.choices[0].message.content)
    try:
        client.completions.create(model="served", prompt="a " * 20000, max_tokens=1)
        raise AssertionError("an overlong prompt was answered")
    except openai.BadRequestError as error:
        assert error.body["n_ctx"] > 0
    print("openai: completions, chats, streams, log-probabilities, errors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model")
    parser.add_argument("--docs", type=int, default=40)
    parser.add_argument("--sparsity", default="20%")
    arguments = parser.parse_args()
    model = ["-m", arguments.model] if arguments.model else []
    is_good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder, arguments.data, arguments.docs)
        options = [*model, *EXACT, "--sparsity", arguments.sparsity]
        with Server(arguments.program, options) as server:
            for plan in (None, arguments.sparsity):
                expected = by_eval(
                    arguments.program, model, arguments.data, arguments.docs, plan, folder
                )
                served = f"served@{plan}" if plan else "served"
                found = by_harness(server.url, served, folder, arguments.docs)
                # Under a plan rounding may put another row over the limit of a layer.
                max_apart = len(expected) // 20 if plan else 0
                is_good = compare(served, expected, found, max_apart) and is_good
            check_openai(server.url, arguments.sparsity)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
