#include "model/hparams.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "model/architecture.h"
#include "model/limits.h"

namespace orthorank {

namespace {

void read_sizes(const ArchKeys &keys, Hparams &h) {
    h.n_layers = keys.integer("block_count", 1, k_max_layers);
    h.n_embd = keys.integer("embedding_length", 1, k_max_embd);
    h.n_ctx_train = keys.integer("context_length", 1, k_max_context);
    // libllama sizes the embedding by the tokens too; `vocab_size` is only a hint.
    const int64_t n_vocab = keys.file().n_texts("tokenizer.ggml.tokens");
    if (n_vocab < 1 || n_vocab > k_max_vocab) {
        fail(ErrorKind::format, "{}: the vocabulary has {} tokens, expected 1 to {}",
             keys.file().path(), n_vocab, k_max_vocab);
    }
    h.n_vocab = static_cast<int>(n_vocab);
    h.rms_eps = keys.number("attention.layer_norm_rms_epsilon", 0, 1);
}

void read_experts(const ArchKeys &keys, Experts experts, Hparams &h) {
    h.n_expert = keys.integer("expert_count", 0, k_max_experts, 0);
    h.n_expert_used = keys.integer("expert_used_count", 0, k_max_experts, 0);
    const std::string &path = keys.file().path();
    if (h.n_expert == 0 ? h.n_expert_used != 0
                        : h.n_expert_used < 1 || h.n_expert_used > h.n_expert) {
        fail(ErrorKind::format, "{}: key {}: {} of {} experts are used, expected 1 to all of them",
             path, keys.full("expert_used_count"), h.n_expert_used, h.n_expert);
    }
    if (h.n_expert > 0 && experts == Experts::none) {
        fail(ErrorKind::format,
             "{}: key {}: found {} experts, and architecture {} has no mixture of them", path,
             keys.full("expert_count"), h.n_expert, keys.arch());
    }
    if (h.n_expert == 0 && experts == Experts::required) {
        fail(ErrorKind::format, "{}: key {} is missing, expected a number of experts", path,
             keys.full("expert_count"));
    }
}

void read_layers(const ArchKeys &keys, Hparams &h) {
    const int n = h.n_layers;
    const std::vector<int> n_head = keys.integers("attention.head_count", n, 1, k_max_heads);
    const std::vector<int> n_head_kv =
        keys.has("attention.head_count_kv")
            ? keys.integers("attention.head_count_kv", n, 1, k_max_heads)
            : n_head;
    // A mixture whose experts have a width of their own may come without this one.
    const bool may_lack_width = h.n_expert > 0 && keys.has("expert_feed_forward_length");
    const std::vector<int> n_ff =
        keys.integers("feed_forward_length", n, may_lack_width ? 0 : 1, k_max_ff,
                      may_lack_width ? std::optional<int64_t>(0) : std::nullopt);
    for (size_t il = 0; il < static_cast<size_t>(n); il++) {
        if (n_head[il] % n_head_kv[il] != 0) {
            fail(ErrorKind::format,
                 "{}: key {}: layer {} has {} query heads and {} key heads, expected a multiple",
                 keys.file().path(), keys.full("attention.head_count"), il, n_head[il],
                 n_head_kv[il]);
        }
        LayerSpec layer;
        layer.n_head = n_head[il];
        layer.n_head_kv = n_head_kv[il];
        layer.n_ff = n_ff[il];
        h.layers.push_back(layer);
    }
}

void read_head_size(const ArchKeys &keys, bool may_rotate_part, Hparams &h) {
    const HeadSize size =
        read_head_size(keys, may_rotate_part, "", {h.n_embd / h.layers.front().n_head, 0});
    for (LayerSpec &layer : h.layers) {
        layer.head_dim = size.width;
        layer.rotation.n_rot = size.n_rot;
    }
}

// YaRN's magnitude for a factor by a multiplier of its logarithm: 1 for factors up to 1.
float yarn_magnitude(float factor, float multiplier) {
    return factor <= 1 ? 1.0f : 0.1f * multiplier * std::log(factor) + 1.0f;
}

void read_yarn(const ArchKeys &keys, float factor, float log_multiplier, Rotation &rotation) {
    rotation.ext_factor = 1;
    // ggml_rope_ext multiplies by 1 + 0.1 ln(factor) itself, and libllama divides that out again:
    // its magnitude is the same term, or 1 for factors up to 1; a model may divide it by that of
    // another multiplier. In its order of operations, so that the result is the same to the bit.
    const float scaled = 1.0f / rotation.freq_scale;
    const float log_term = 1.0f + 0.1f * std::log(scaled);
    if (!(log_term > 0)) {
        fail(ErrorKind::format, "{}: key {}: found {}, expected at least 1 for yarn",
             keys.file().path(), keys.full("rope.scaling.factor"), factor);
    }
    float magnitude = yarn_magnitude(scaled, 1.0f);
    if (log_multiplier != 0) {
        magnitude /= yarn_magnitude(scaled, log_multiplier);
    }
    rotation.attn_factor = magnitude * (1.0f / log_term) * rotation.attn_factor;
}

Rotation read_rotation(const ArchKeys &keys, const Architecture &architecture, int n_ctx_train) {
    Rotation rotation;
    rotation.type = architecture.rope_type;
    rotation.freq_base = keys.number("rope.freq_base", 0, 1e12, 10000.0f);
    rotation.n_ctx_orig =
        keys.integer("rope.scaling.original_context_length", 0, k_max_context, n_ctx_train);
    if (rotation.n_ctx_orig == 0) {
        rotation.n_ctx_orig = n_ctx_train;
    }
    const bool is_by_context = architecture.rope_factors == RopeFactors::by_context;
    const std::string type = keys.text("rope.scaling.type", "linear");
    if (type != "none" && type != "linear" && type != "yarn" &&
        !(type == "longrope" && is_by_context)) {
        fail(ErrorKind::format,
             "{}: key {}: rope scaling '{}' is not supported (supported: none, linear, yarn{})",
             keys.file().path(), keys.full("rope.scaling.type"), type,
             is_by_context ? ", longrope" : "");
    }
    const char *key = keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
    // 0 is how some files say "no scaling".
    const float factor = keys.file().find_number(keys.full(key)).value_or(0) == 0
                             ? 1
                             : keys.number(key, 0, 1e6, 1.0f);
    rotation.freq_scale = type == "none" ? 1.0f : 1.0f / factor;
    rotation.attn_factor = keys.number("rope.scaling.attn_factor", 0, 1e6, 1.0f);
    if (type == "yarn") {
        float log_multiplier = 0;
        if (architecture.has_yarn_numbers) {
            rotation.beta_fast = keys.number("rope.scaling.yarn_beta_fast", 0, 1e6, 32.0f);
            rotation.beta_slow = keys.number("rope.scaling.yarn_beta_slow", 0, 1e6, 1.0f);
            log_multiplier = static_cast<float>(
                keys.file().find_number(keys.full("rope.scaling.yarn_log_multiplier")).value_or(0));
            keys.ignore("rope.scaling.yarn_log_multiplier");
        }
        read_yarn(keys, factor, log_multiplier, rotation);
    }
    return rotation;
}

void list_windows(Hparams &h) {
    for (const LayerSpec &layer : h.layers) {
        if (std::find(h.windows.begin(), h.windows.end(), layer.window) == h.windows.end()) {
            h.windows.push_back(layer.window);
        }
    }
}

}  // namespace

size_t Hparams::window_of(int il) const {
    const int window = layers[static_cast<size_t>(il)].window;
    return static_cast<size_t>(std::find(windows.begin(), windows.end(), window) - windows.begin());
}

bool Hparams::is_read(int il) const {
    return std::any_of(layers.begin(), layers.end(),
                       [il](const LayerSpec &layer) { return layer.kv_layer == il; });
}

int Hparams::tail_begin() const {
    int begin = n_layers;
    while (begin > 0 && !has_keys(begin - 1)) {
        --begin;
    }
    return begin;
}

int Hparams::start_of(int il) const {
    int start = il;
    for (int reader = n_layers - 1; reader >= start; --reader) {
        start = has_keys(reader) ? start : std::min(start, layers[reader].kv_layer);
    }
    return start;
}

float query_temperature(const Hparams &h, int64_t position) {
    const auto at = static_cast<float>(position);
    const auto length = static_cast<float>(h.temperature_length);
    // In libllama's types, so that the result is the same to the bit.
    return static_cast<float>(std::log(static_cast<double>(std::floor(at / length)) + 1.0) *
                                  static_cast<double>(h.temperature) +
                              1.0);
}

Hparams read_hparams(const GgufFile &file) {
    const Architecture &architecture = architecture_of(file);
    const ArchKeys keys(file, architecture.name);
    Hparams h;
    h.arch = architecture.name;
    h.name = as_utf8(file.find_text("general.name").value_or(""));
    read_sizes(keys, h);
    read_experts(keys, architecture.experts, h);
    read_layers(keys, h);
    read_head_size(keys, architecture.may_rotate_part, h);
    Rotation rotation = read_rotation(keys, architecture, h.n_ctx_train);
    rotation.n_rot = h.layers.front().rotation.n_rot;
    for (LayerSpec &layer : h.layers) {
        layer.rotation = rotation;
        layer.attention_scale = 1.0f / std::sqrt(static_cast<float>(layer.head_dim));
    }
    if (architecture.read != nullptr) {
        architecture.read(keys, h);
    }
    if (!keys.flag("attention.causal", true)) {
        fail(ErrorKind::format, "{} is not a causal model (key {})", file.path(),
             keys.full("attention.causal"));
    }
    keys.refuse_unread();
    list_windows(h);
    return h;
}

}  // namespace orthorank
