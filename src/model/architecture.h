// The table of architectures: for each, how the numbers of its layers follow from a file's keys and
// which tensors its layers have. One file each (arch_NAME.cpp) is all that knows a name; graphs,
// conversion, export, Taylor scores and the cost model read what it fills (hparams.h, weights.h).
#pragma once

#include "model/arch_keys.h"
#include "model/hparams.h"

namespace orthorank {

class TensorList;

// May files of it have a mixture of experts?
enum class Experts { none, optional, required };
// What divides the frequencies of its rotation: nothing, `rope_freqs`, or one of two tensors by the
// length of the context.
enum class RopeFactors { none, one, by_context };

struct Architecture {
    const char *name;  // general.architecture
    RopeType rope_type = RopeType::neox;
    // Without BOS it has no sink: all its texts and every window of them begin with BOS, whatever
    // the file says.
    bool needs_bos = false;
    Experts experts = Experts::none;
    RopeFactors rope_factors = RopeFactors::none;
    bool may_rotate_part = false;   // rope.dimension_count below the width of a head
    bool has_yarn_numbers = false;  // keys of its own for YaRN's ramp and magnitude
    // What differs from a plain layer (rotated by the common keys, products scaled by the root of a
    // head's width, SiLU); null: nothing. Called when all else is read.
    void (*read)(const ArchKeys &keys, Hparams &hparams) = nullptr;
    // The tensors of a layer.
    void (*list_layer)(TensorList &list) = nullptr;
};

// Throws Error{format} with the known names.
const Architecture &architecture_of(const GgufFile &file);
// Null for an unknown name.
const Architecture *find_architecture(const std::string &name);
const Architecture &architecture_named(const std::string &name);

extern const Architecture k_llama, k_qwen2, k_qwen3, k_gemma2, k_gemma3, k_qwen2moe, k_qwen3moe,
    k_phi3, k_smollm3, k_granite, k_granitemoe, k_olmo2, k_mistral3, k_gpt_oss, k_gemma4;

// What several architectures read alike.

struct HeadSize {
    int width = 0;
    int n_rot = 0;  // of them rotated; 0 before it is read: all
};
// attention.key_length, attention.value_length and rope.dimension_count, each with `suffix` behind
// it; the widths must be equal and even, and less may be rotated if the architecture says so.
HeadSize read_head_size(const ArchKeys &keys, bool may_rotate_part, const std::string &suffix,
                        const HeadSize &otherwise);

// The last of every `period` layers sees all, the others attention.sliding_window positions; a file
// without that key has the window `otherwise`, 0: none.
void read_windows(const ArchKeys &keys, Hparams &hparams, int period,
                  std::optional<int64_t> otherwise = 0);
// 1 / sqrt(head), or in the largest of a Gemma family, known by its layers, 1 / sqrt(width /
// heads).
float gemma_query_scale(const Hparams &hparams, int n_layers_of_largest);
// Experts have a width of their own, or share the feed-forward width.
void read_expert_width(const ArchKeys &keys, Hparams &hparams);

}  // namespace orthorank
