"""What lm-evaluation-harness itself says of a GGUF model, as fixtures for our evaluation.

python lm_eval_reference.py MODEL.gguf DATA_DIR OUT_DIR [--docs 100] [--tasks piqa,...] [--threads 1]

The weights are dequantised to F32 and saved as a Hugging Face model with a tokenizer built from the
GGUF's tokens and merges; lm-eval's `hf` model class loads that and scores the first documents of
each task. Contexts and choices of the five tasks are laid out as the harness's own task files do
(the same in 0.4.1 to 0.4.8); TruthfulQA's prompts and scores come from its task files themselves.
Only llama with a byte-level BPE vocabulary, which is what the default model is. Writes
OUT_DIR/lm-eval-TASK.json: log-likelihoods by document and choice, and the ids they are of; for
truthfulqa-mc2 also the score, for truthfulqa-gen the answers and their scores.
"""

import argparse
import csv
import itertools
import json
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks.truthfulqa import utils as truthfulqa
from lm_eval.utils import apply_template, load_yaml_config
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TASKS = (
    "piqa",
    "winogrande",
    "hellaswag",
    "arc-easy",
    "arc-challenge",
    "truthfulqa-mc1",
    "truthfulqa-mc2",
    "truthfulqa-gen",
)
CONTROL, USER_DEFINED = 3, 4


# ------------------------------------------------------------------------------------ the model


def field(reader, key):
    found = reader.get_field(key)
    return None if found is None else found.contents()


def config_of(reader):
    def number(key):
        return field(reader, "llama." + key)

    return LlamaConfig(
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        max_position_embeddings=number("context_length"),
        rms_norm_eps=number("attention.layer_norm_rms_epsilon"),
        rope_theta=number("rope.freq_base") or 10000.0,
        bos_token_id=field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=field(reader, "tokenizer.ggml.eos_token_id"),
        tie_word_embeddings=all(t.name != "output.weight" for t in reader.tensors),
    )


NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return whole[stem] + ".weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def unpermuted(weight, n_head):
    """GGUF pairs the rotated dimensions (0, 1), Hugging Face (0, n / 2)."""
    n_out, n_in = weight.shape
    return (
        weight.reshape(n_head, n_out // n_head // 2, 2, n_in).swapaxes(1, 2).reshape(n_out, n_in)
    )


def weights_of(reader, config):
    weights = {}
    for tensor in reader.tensors:
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        value = value.reshape([int(n) for n in reversed(tensor.shape)])
        if tensor.name.endswith("attn_q.weight"):
            value = unpermuted(value, config.num_attention_heads)
        if tensor.name.endswith("attn_k.weight"):
            value = unpermuted(value, config.num_key_value_heads)
        weights[hf_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(value))
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


def tokenizer_of(reader):
    """SmolLM2's: digits one by one, then GPT-2's byte-level BPE."""
    if field(reader, "tokenizer.ggml.model") != "gpt2" or field(reader, "tokenizer.ggml.pre") not in (
        "smollm",
        "default",
    ):
        raise SystemExit("only a byte-level BPE vocabulary of SmolLM's kind is known here")
    tokens = field(reader, "tokenizer.ggml.tokens")
    kinds = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    bpe = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=tokens[field(reader, "tokenizer.ggml.eos_token_id")],
        bos_token=tokens[field(reader, "tokenizer.ggml.bos_token_id")],
        clean_up_tokenization_spaces=False,
    )


def save_model(path, folder):
    reader = gguf.GGUFReader(path)
    config = config_of(reader)
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights_of(reader, config), strict=False)
    model.save_pretrained(folder)
    tokenizer_of(reader).save_pretrained(folder)


# ------------------------------------------------------------------------------------ documents


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def arc(path):
    for document in json_lines(path):
        question = document["question"]
        context = f"Question: {question['stem']}\nAnswer:"
        yield [(context, " " + choice["text"]) for choice in question["choices"]]


def documents(task, data):
    """Lists of (context, continuation), in the file's order."""
    if task == "piqa":
        for document in json_lines(data / "piqa/valid.jsonl"):
            context = f"Question: {document['goal']}\nAnswer:"
            yield [(context, " " + document[name]) for name in ("sol1", "sol2")]
    elif task == "winogrande":
        for document in json_lines(data / "winogrande/winogrande_xl-validation.jsonl"):
            prefix, rest = document["sentence"].split("_", 1)
            yield [(prefix + document[o], " " + rest.strip()) for o in ("option1", "option2")]
    elif task == "hellaswag":
        lines = (data / "hellaswag/hellaswag_val_full.txt").read_text(encoding="utf-8").split("\n")
        for first in range(0, len(lines) - 5, 6):
            yield [(lines[first], " " + ending) for ending in lines[first + 2 : first + 6]]
    elif task in ("truthfulqa-mc1", "truthfulqa-mc2"):
        for document in json.loads((data / "truthfulqa/mc_task.json").read_text(encoding="utf-8")):
            context = truthfulqa_prompt(task, document["question"])
            yield [(context, " " + choice) for choice in document[f"{task[11:]}_targets"]]
    elif task in ("arc-easy", "arc-challenge"):
        yield from arc(data / f"arc/ARC-{task[4:].title()}-Test.jsonl")
    else:
        raise SystemExit(f"unknown task {task} (known: {', '.join(TASKS)})")


def truthfulqa_prompt(task, question):
    folder = Path(lm_eval.__file__).parent / "tasks/truthfulqa"
    config = load_yaml_config(str(folder / f"{task.replace('-', '_')}.yaml"), mode="simple")
    return apply_template(config["doc_to_text"], {"question": question})


def truthfulqa_questions(data):
    """The harness's documents for generation, in the file's order."""
    with open(data / "truthfulqa/TruthfulQA.csv", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield truthfulqa.preprocess_function(
                {
                    "question": row["Question"],
                    "correct_answers": row["Correct Answers"].split(";"),
                    "incorrect_answers": row["Incorrect Answers"].split(";"),
                }
            )


# ------------------------------------------------------------------------------------ the run


def score(lm, documents_of_task):
    """(log-likelihoods, [context ids, continuation ids]) of each choice of each document."""
    requests = [
        Instance("loglikelihood", {}, pair, index)
        for index, document in enumerate(documents_of_task)
        for pair in document
    ]
    values = iter(lm.loglikelihood(requests))
    results = []
    for index, document in enumerate(documents_of_task):
        ids = [lm._encode_pair(*pair) for pair in document]
        results.append(
            {
                "doc": index,
                "ll": [round(float(next(values)[0]), 6) for _ in document],
                "n_context": [len(context) for context, _ in ids],
                "targets": [target for _, target in ids],
            }
        )
    return results


def add_mc2(results, data):
    documents_of_task = json.loads((data / "truthfulqa/mc_task.json").read_text(encoding="utf-8"))
    for result, document in zip(results, documents_of_task):
        labels = {"mc2_targets": {"labels": list(document["mc2_targets"].values())}}
        scored = truthfulqa.process_results_mc2(labels, [(ll, False) for ll in result["ll"]])
        result["mc2"] = round(float(scored["acc"]), 9)
    return results


def answer(lm, questions):
    """What the model says to each question, and its BLEU scores."""
    until = {"until": ["\n\n"], "max_gen_toks": 256, "do_sample": False}
    requests = [
        Instance(
            "generate_until",
            {},
            (truthfulqa_prompt("truthfulqa-gen", document["question"]), until),
            index,
        )
        for index, document in enumerate(questions)
    ]
    results = []
    for index, (document, text) in enumerate(zip(questions, lm.generate_until(requests))):
        scores = truthfulqa.process_results_gen(document, [text])
        bleu = {key: round(float(scores[key]), 6) for key in ("bleu_max", "bleu_acc", "bleu_diff")}
        results.append({"doc": index, "text": text, **bleu})
    return results


def run_task(lm, task, data, n_docs):
    if task == "truthfulqa-gen":
        return answer(lm, list(itertools.islice(truthfulqa_questions(data), n_docs)))
    results = score(lm, list(itertools.islice(documents(task, data), n_docs)))
    return add_mc2(results, data) if task == "truthfulqa-mc2" else results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", type=int, default=100)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        save_model(options.model, folder)
        lm = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=16)
    for task in options.tasks.split(","):
        result = {
            "format": "orthorank-lm-eval",
            "version": 1,
            "task": task,
            "model": options.model.name,
            "docs": run_task(lm, task, options.data, options.docs),
        }
        lines = ",\n".join(json.dumps(doc, separators=(",", ":")) for doc in result.pop("docs"))
        head = json.dumps(result)[:-1]
        (options.out / f"lm-eval-{task}.json").write_text(f'{head}, "docs": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
