#include "model/hparams.h"

#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "model/gguf_file.h"

namespace orthorank {

namespace {

// Far above every known model, low enough that no product of two of them overflows an int.
constexpr int64_t k_max_layers = 512;  // libllama's limit too
constexpr int64_t k_max_embd = 1 << 20;
constexpr int64_t k_max_ff = 1 << 22;
constexpr int64_t k_max_heads = 1 << 14;
constexpr int64_t k_max_head_dim = 1 << 14;
constexpr int64_t k_max_vocab = 1 << 24;
constexpr int64_t k_max_experts = 1024;  // libllama's limit too
constexpr int64_t k_max_context = 1 << 27;

struct KnownArch {
    const char *name;
    Arch arch;
    RopeType rope_type;
};

constexpr KnownArch k_archs[] = {
    {"llama", Arch::llama, RopeType::norm},
    {"qwen2", Arch::qwen2, RopeType::neox},
    {"qwen3", Arch::qwen3, RopeType::neox},
};

const KnownArch &known_arch(const GgufFile &file) {
    const std::string name = file.text("general.architecture");
    std::string supported;
    for (const KnownArch &known : k_archs) {
        if (name == known.name) {
            return known;
        }
        supported += (supported.empty() ? "" : ", ") + std::string(known.name);
    }
    fail(ErrorKind::format, "{}: architecture '{}' is not supported (supported: {})", file.path(),
         name, supported);
}

// A number in (low, high]; a missing key gives `otherwise`.
float number_or(const GgufFile &file, const std::string &key, float otherwise, double low,
                double high) {
    const std::optional<double> value = file.find_number(key);
    if (!value) {
        return otherwise;
    }
    if (!(*value > low && *value <= high)) {
        fail(ErrorKind::format, "{}: key {}: found {}, expected a number above {}, at most {}",
             file.path(), key, *value, low, high);
    }
    return static_cast<float>(*value);
}

void read_layers(const GgufFile &file, const std::string &arch, Hparams &h) {
    const int n = h.n_layers;
    const std::string key_head = arch + "." + k_layer_keys[0];
    const std::string key_head_kv = arch + "." + k_layer_keys[1];
    const std::string key_ff = arch + "." + k_layer_keys[2];
    const std::vector<int64_t> n_head = file.integers(key_head, n, 1, k_max_heads);
    const std::vector<int64_t> n_head_kv =
        file.has(key_head_kv) ? file.integers(key_head_kv, n, 1, k_max_heads) : n_head;
    const std::vector<int64_t> n_ff = file.integers(key_ff, n, 1, k_max_ff);
    for (size_t il = 0; il < static_cast<size_t>(n); il++) {
        if (n_head[il] % n_head_kv[il] != 0) {
            fail(ErrorKind::format,
                 "{}: layer {} has {} query heads and {} key heads, expected a multiple",
                 file.path(), il, n_head[il], n_head_kv[il]);
        }
        h.layers.push_back({static_cast<int>(n_head[il]), static_cast<int>(n_head_kv[il]),
                            static_cast<int>(n_ff[il])});
    }
}

void read_head_size(const GgufFile &file, const std::string &arch, Hparams &h) {
    const int64_t usual = h.n_embd / h.layers.front().n_head;
    const auto size = [&](const char *key) {
        return static_cast<int>(file.integer(arch + key, 2, k_max_head_dim, usual));
    };
    h.head_dim_k = size(".attention.key_length");
    h.head_dim_v = size(".attention.value_length");
    h.n_rot = static_cast<int>(
        file.integer(arch + ".rope.dimension_count", 2, k_max_head_dim, h.head_dim_k));
    if (h.head_dim_k < 2 || h.head_dim_k % 2 != 0) {
        fail(ErrorKind::format,
             "{}: heads are {} wide (n_embd {}, {} heads), expected an even number", file.path(),
             h.head_dim_k, h.n_embd, h.layers.front().n_head);
    }
    if (h.head_dim_v != h.head_dim_k || h.n_rot != h.head_dim_k) {
        fail(ErrorKind::format,
             "{}: key_length {}, value_length {}, rope.dimension_count {}: expected all equal",
             file.path(), h.head_dim_k, h.head_dim_v, h.n_rot);
    }
}

void read_rope(const GgufFile &file, const std::string &arch, Hparams &h) {
    const std::string rope = arch + ".rope.";
    h.rope_freq_base = number_or(file, rope + "freq_base", 10000.0f, 0, 1e12);
    h.rope_n_ctx_orig = static_cast<int>(
        file.integer(rope + "scaling.original_context_length", 0, k_max_context, h.n_ctx_train));
    if (h.rope_n_ctx_orig == 0) {
        h.rope_n_ctx_orig = h.n_ctx_train;
    }
    const std::string type = file.find_text(rope + "scaling.type").value_or("linear");
    if (type != "none" && type != "linear" && type != "yarn") {
        fail(ErrorKind::format,
             "{}: rope scaling '{}' is not supported (supported: none, linear, yarn)", file.path(),
             type);
    }
    const char *key = file.has(rope + "scaling.factor") ? "scaling.factor" : "scale_linear";
    // 0 is how some files say "no scaling".
    const float factor =
        file.find_number(rope + key).value_or(0) == 0 ? 1 : number_or(file, rope + key, 1, 0, 1e6);
    h.rope_freq_scale = type == "none" ? 1.0f : 1.0f / factor;
    h.rope_attn_factor = number_or(file, rope + "scaling.attn_factor", 1, 0, 1e6);
    if (type == "yarn") {
        h.rope_ext_factor = 1;
        // ggml_rope_ext multiplies by 1 + 0.1 ln(factor) itself, and libllama divides that out
        // again: its magnitude is the same term, or 1 for factors up to 1. In its order of
        // operations, so that the result is the same to the bit.
        const float log_term = 1.0f + 0.1f * std::log(1.0f / h.rope_freq_scale);
        if (!(log_term > 0)) {
            fail(ErrorKind::format, "{}: key {}: found {}, expected at least 1 for yarn",
                 file.path(), rope + key, factor);
        }
        const float magnitude = factor <= 1 ? 1.0f : log_term;
        h.rope_attn_factor *= magnitude * (1.0f / log_term);
    }
}

void read_experts(const GgufFile &file, const std::string &arch, Hparams &h) {
    h.n_expert = static_cast<int>(file.integer(arch + ".expert_count", 0, k_max_experts, 0));
    h.n_expert_used =
        static_cast<int>(file.integer(arch + ".expert_used_count", 0, k_max_experts, 0));
    if (h.n_expert == 0 ? h.n_expert_used != 0
                        : h.n_expert_used < 1 || h.n_expert_used > h.n_expert) {
        fail(ErrorKind::format, "{}: {} of {} experts are used, expected 1 to all of them",
             file.path(), h.n_expert_used, h.n_expert);
    }
    if (h.n_expert > 0 && h.arch != Arch::llama) {
        fail(ErrorKind::format, "{}: architecture {} has no mixture of experts, found {} experts",
             file.path(), arch, h.n_expert);
    }
}

// Keys that change what the network computes in ways that we do not.
void refuse_variants(const GgufFile &file, const std::string &arch) {
    if (!file.find_flag(arch + ".attention.causal").value_or(true)) {
        fail(ErrorKind::format, "{} is not a causal model (key {}.attention.causal)", file.path(),
             arch);
    }
    for (const char *key : {".expert_group_count", ".nextn_predict_layers"}) {
        const int64_t found = file.integer(arch + key, 0, k_max_experts, 0);
        if (found > 1 || (found > 0 && key[1] == 'n')) {
            fail(ErrorKind::format, "{}: key {}{} is {}, which is not supported", file.path(), arch,
                 key, found);
        }
    }
}

}  // namespace

const char *arch_name(Arch arch) {
    for (const KnownArch &known : k_archs) {
        if (known.arch == arch) {
            return known.name;
        }
    }
    return "unknown";
}

Hparams read_hparams(const GgufFile &file) {
    const KnownArch &known = known_arch(file);
    const std::string arch = known.name;
    Hparams h;
    h.arch = known.arch;
    h.rope_type = known.rope_type;
    h.name = as_utf8(file.find_text("general.name").value_or(""));
    h.n_layers = static_cast<int>(file.integer(arch + ".block_count", 1, k_max_layers));
    h.n_embd = static_cast<int>(file.integer(arch + ".embedding_length", 1, k_max_embd));
    h.n_ctx_train = static_cast<int>(file.integer(arch + ".context_length", 1, k_max_context));
    // libllama sizes the embedding by the tokens too; `vocab_size` is only a hint.
    h.n_vocab = static_cast<int>(file.n_texts("tokenizer.ggml.tokens"));
    if (h.n_vocab < 1 || h.n_vocab > k_max_vocab) {
        fail(ErrorKind::format, "{}: the vocabulary has {} tokens, expected 1 to {}", file.path(),
             h.n_vocab, k_max_vocab);
    }
    const std::string key_eps = arch + ".attention.layer_norm_rms_epsilon";
    if (!file.has(key_eps)) {
        fail(ErrorKind::format, "{}: key {} is missing, expected a number", file.path(), key_eps);
    }
    h.rms_eps = number_or(file, key_eps, 0, 0, 1);
    read_experts(file, arch, h);
    read_layers(file, arch, h);
    read_head_size(file, arch, h);
    read_rope(file, arch, h);
    refuse_variants(file, arch);
    return h;
}

}  // namespace orthorank
