"""Writes the tiny random GGUFs of tests/fixtures/models: one for each way a layer can be built.

python make_tiny_models.py OUT_DIR
"""

import sys
from pathlib import Path

import gguf
import numpy as np

N_VOCAB = 288
PIECES = ["▁", "e", "t", "a", "o", "n", "i", "s", "r", "h", "l", "d", "u", "c", "m", "f", "w", "g",
          "y", "p", "b", "▁t", "he", "▁the", "in", "er", "an", "▁a", "▁s"]

# Small enough for the repository, and still several heads, groups, experts and layers. Rows are
# multiples of 32, so that the files can be quantised; tiny-qwen3's head size of 32 also takes a
# Q8_0 cache, and its heads are wider than n_embd / n_head. tiny-mixtral leaves head_count_kv out.
MODELS = {
    "tiny-llama-gqa": dict(arch="llama", n_layers=6, n_head=4, n_head_kv=2, head_dim=16),
    "tiny-mixtral": dict(arch="llama", n_layers=3, n_head=4, n_head_kv=4, head_dim=8, n_experts=4,
                         n_ff=32, tied=False),
    "tiny-llama3-ropefreqs": dict(arch="llama", n_layers=4, n_head=4, n_head_kv=2, head_dim=8,
                                  n_ff=32, rope_freqs=True, tied=False, rope_base=500000.0),
    "tiny-qwen2": dict(arch="qwen2", n_layers=4, n_head=4, n_head_kv=1, head_dim=8, n_ff=32,
                       bias=True, rope_base=1000000.0),
    "tiny-qwen3": dict(arch="qwen3", n_layers=4, n_head=2, n_head_kv=1, head_dim=32, qk_norm=True,
                       rope_base=1000000.0),
    "tiny-gemma3": dict(arch="gemma3", n_layers=6, n_head=4, n_head_kv=2, head_dim=16, n_ff=32,
                        qk_norm=True, post_norms=True, window=16, tied=False, rope_base=1000000.0),
}
DEFAULTS = dict(n_embd=32, n_ff=64, n_experts=0, rope_freqs=False, tied=True, bias=False,
                qk_norm=False, post_norms=False, window=0, rope_base=10000.0)


def write_keys(writer, name, m):
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(m["n_layers"])
    writer.add_context_length(512)
    writer.add_embedding_length(m["n_embd"])
    writer.add_feed_forward_length(m["n_ff"])
    writer.add_head_count(m["n_head"])
    if m["n_head_kv"] != m["n_head"]:
        writer.add_head_count_kv(m["n_head_kv"])
    if m["head_dim"] * m["n_head"] != m["n_embd"]:
        writer.add_key_length(m["head_dim"])
        writer.add_value_length(m["head_dim"])
    writer.add_layer_norm_rms_eps(1e-5)
    if m["window"]:
        writer.add_sliding_window(m["window"])
    if m["arch"] == "llama":
        writer.add_rope_dimension_count(m["head_dim"])
    writer.add_rope_freq_base(m["rope_base"])
    if m["n_experts"]:
        writer.add_expert_count(m["n_experts"])
        writer.add_expert_used_count(2)


def write_tokenizer(writer):
    """The smallest SentencePiece vocabulary that libllama accepts: three specials, 256 bytes and a
    few pieces, earlier pieces with the better score."""
    types = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + PIECES
    kinds = [types.UNKNOWN, types.CONTROL, types.CONTROL] + [types.BYTE] * 256
    kinds += [types.NORMAL] * len(PIECES)
    scores = [0.0] * 259 + [-float(i) for i in range(len(PIECES))]
    assert len(tokens) == N_VOCAB
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores(scores)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def add_random(writer, rng, name, *shape, scale=None, low=None, high=None):
    """A tensor in PyTorch's order; matrices keep the size of what they are fed, about."""
    if low is not None:
        values = rng.uniform(low, high, shape)
    else:
        values = rng.normal(0.0, scale or 1.3 / shape[-1] ** 0.5, shape)
    writer.add_tensor(name, values.astype(np.float32))


def write_layer(writer, rng, m, il):
    d, q_width, kv_width = m["n_embd"], m["n_head"] * m["head_dim"], m["n_head_kv"] * m["head_dim"]
    prefix = f"blk.{il}."
    add_random(writer, rng, prefix + "attn_norm.weight", d, low=0.5, high=1.5)
    for part, width in (("q", q_width), ("k", kv_width), ("v", kv_width)):
        add_random(writer, rng, f"{prefix}attn_{part}.weight", width, d)
        if m["bias"]:
            add_random(writer, rng, f"{prefix}attn_{part}.bias", width, scale=0.5)
        if m["qk_norm"] and part != "v":
            add_random(writer, rng, f"{prefix}attn_{part}_norm.weight", m["head_dim"],
                       low=0.5, high=1.5)
    add_random(writer, rng, prefix + "attn_output.weight", d, q_width)
    if m["post_norms"]:
        add_random(writer, rng, prefix + "post_attention_norm.weight", d, low=0.5, high=1.5)
        add_random(writer, rng, prefix + "post_ffw_norm.weight", d, low=0.5, high=1.5)
    add_random(writer, rng, prefix + "ffn_norm.weight", d, low=0.5, high=1.5)
    experts = (m["n_experts"],) if m["n_experts"] else ()
    suffix = "_exps.weight" if experts else ".weight"
    if experts:
        add_random(writer, rng, prefix + "ffn_gate_inp.weight", m["n_experts"], d)
    add_random(writer, rng, prefix + "ffn_gate" + suffix, *experts, m["n_ff"], d)
    add_random(writer, rng, prefix + "ffn_up" + suffix, *experts, m["n_ff"], d)
    add_random(writer, rng, prefix + "ffn_down" + suffix, *experts, d, m["n_ff"])


def write_model(path, name, seed):
    m = {**DEFAULTS, **MODELS[name]}
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, m["arch"])
    write_keys(writer, name, m)
    write_tokenizer(writer)
    add_random(writer, rng, "token_embd.weight", N_VOCAB, m["n_embd"], scale=0.3)
    for il in range(m["n_layers"]):
        write_layer(writer, rng, m, il)
    add_random(writer, rng, "output_norm.weight", m["n_embd"], low=0.5, high=1.5)
    if not m["tied"]:
        add_random(writer, rng, "output.weight", N_VOCAB, m["n_embd"], scale=0.5)
    if m["rope_freqs"]:
        factors = np.linspace(1.0, 8.0, m["head_dim"] // 2, dtype=np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(MODELS):
        path = out / f"{name}.gguf"
        write_model(path, name, seed)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
