#include "model/arch_keys.h"

#include <algorithm>

#include "base/error.h"

namespace orthorank {

const std::vector<std::string> k_layer_keys = {"attention.head_count", "attention.head_count_kv",
                                               "feed_forward_length", "expert_feed_forward_length",
                                               k_window_pattern_key};

namespace {

// Keys by which some architecture changes what its network computes (libllama's list), and the
// number besides 0 that means that it does not: libllama's default, which it writes into its own
// files for all architectures, or another key's. Of an array all have to be such.
// (Not here: yarn_attn_factor and yarn_ext_factor, which libllama reads for grok alone, and which
// llama.cpp's converter writes for any model that has YaRN.)
struct ChangingKey {
    const char *name;
    double neutral;
    const char *same_as = nullptr;
};

constexpr ChangingKey k_changing_keys[] = {
    {"attention.clamp_kqv", 0},
    {"attention.indexer.head_count", 0},
    {"attention.key_length_mla", 0},
    {"attention.key_length_swa", 0, "attention.key_length"},
    {"attention.kv_lora_rank", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.output_scale", 1},
    {"attention.q_lora_rank", 0},
    {"attention.scale", 0},
    {"attention.shared_kv_layers", 0},
    {"attention.temperature_scale", 0},
    {"attention.value_length_swa", 0, "attention.value_length"},
    {"attention.value_scale", 1},
    {"attn_logit_softcapping", 50},
    {"embedding_length_per_layer_input", 0},
    {"embedding_scale", 1},
    {"expert_gating_func", 1},
    {"expert_group_count", 1},
    {"expert_latent_length", 0},
    {"expert_shared_count", 0},
    {"expert_shared_feed_forward_length", 0},
    {"activation.situ_beta", 1},
    {"attention.compress_ratios", 0},
    {"deepstack_mapping", -1},
    {"expert_weights_scale", 1},
    {"final_logit_softcapping", 30},
    {"full_attention_interval", 0},
    {"interleave_moe_layer_step", 1},
    {"leading_dense_block_count", 0},
    {"logit_scale", 1},
    {"moe_every_n_layers", 0},
    {"nextn_predict_layers", 0},
    {"residual_scale", 1},
    {"num_loops", 1},
    {"rope.dimension_count_swa", 0, "rope.dimension_count"},
    {"rope.freq_base_swa", 10000, "rope.freq_base"},
    {"rope.scaling.alpha", 0},
    {"rope.scaling.yarn_beta_fast", 32},
    {"rope.scaling.yarn_beta_slow", 1},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"router_logit_softcapping", 30},
    {"ssm.conv_kernel", 0},
    {"swiglu_clamp_exp", 0},
    {"swiglu_clamp_shexp", 0},
    {"swin_norm", 0},
    {"use_parallel_residual", 0},
    {"ssm.inner_size", 0},
};

}  // namespace

std::string ArchKeys::asked(const std::string &name) const {
    asked_.insert(name);
    return full(name);
}

int ArchKeys::integer(const std::string &name, int64_t low, int64_t high,
                      std::optional<int64_t> otherwise) const {
    return static_cast<int>(file_.integer(asked(name), low, high, otherwise));
}

std::vector<int> ArchKeys::integers(const std::string &name, int n, int64_t low, int64_t high,
                                    std::optional<int64_t> otherwise) const {
    const std::vector<int64_t> found = file_.integers(asked(name), n, low, high, otherwise);
    return {found.begin(), found.end()};
}

float ArchKeys::number(const std::string &name, double low, double high,
                       std::optional<float> otherwise) const {
    const std::string key = asked(name);
    const std::optional<double> value = file_.find_number(key);
    if (!value && otherwise) {
        return *otherwise;
    }
    if (!value) {
        fail(ErrorKind::format, "{}: key {} is missing, expected a number", file_.path(), key);
    }
    if (!(*value > low && *value <= high)) {
        fail(ErrorKind::format, "{}: key {}: found {}, expected a number above {}, at most {}",
             file_.path(), key, *value, low, high);
    }
    return static_cast<float>(*value);
}

float ArchKeys::scale(const std::string &name, float otherwise) const {
    const float found = cap(name, 0.0f);
    return found == 0.0f ? otherwise : found;
}

float ArchKeys::cap(const std::string &name, float otherwise) const {
    const bool is_zero = file_.find_number(asked(name)).value_or(1.0) == 0.0;
    return is_zero ? 0.0f : number(name, 0, 1e6, otherwise);
}

bool ArchKeys::flag(const std::string &name, bool otherwise) const {
    return file_.find_flag(asked(name)).value_or(otherwise);
}

std::string ArchKeys::text(const std::string &name, const std::string &otherwise) const {
    return file_.find_text(asked(name)).value_or(otherwise);
}

std::vector<bool> ArchKeys::all_but_every(const std::string &name, int n, int otherwise) const {
    constexpr int64_t k_max_period = 1 << 16;
    const std::string key = asked(name);
    if (file_.is_array(key)) {
        const std::vector<int64_t> found = file_.integers(key, n, 0, 1);
        return {found.begin(), found.end()};
    }
    const auto period = static_cast<int>(file_.integer(key, 0, k_max_period, otherwise));
    std::vector<bool> layers;
    for (int il = 0; il < n; ++il) {
        layers.push_back(period == 0 || il % period != period - 1);
    }
    return layers;
}

void ArchKeys::refuse_unread() const {
    for (const ChangingKey &changing : k_changing_keys) {
        const std::string key = full(changing.name);
        if (asked_.count(changing.name) != 0 || !file_.has(key)) {
            continue;
        }
        const auto values = file_.find_scalars(key);
        const auto same =
            changing.same_as == nullptr ? std::nullopt : file_.find_scalars(full(changing.same_as));
        const auto is_not_here = [&](double value) {
            return value == 0 || value == changing.neutral || (same && value == same->front());
        };
        const auto other = values ? std::find_if_not(values->begin(), values->end(), is_not_here)
                                  : std::vector<double>::const_iterator();
        if (!values || other != values->end()) {
            fail(ErrorKind::format,
                 "{}: key {} is {}, and architecture {} is not computed with it: another variant "
                 "of the model?",
                 file_.path(), key, values ? fmt::format("{}", *other) : "no number", arch_);
        }
    }
}

}  // namespace orthorank
