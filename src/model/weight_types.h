// The element types that weights are held in while a model runs, as --weights names them. Plain
// data.
#pragma once

#include <string>

#include "model/phase.h"

namespace orthorank {

// As the file has them.
inline const std::string k_file_weights = "file";
// To be chosen by timing (timing/weight_choice.h); no model is loaded with it.
inline const std::string k_auto_weights = "auto";

// One for each phase; two different ones make two copies of the weights.
struct WeightTypes {
    std::string prefill = k_file_weights;
    std::string decode = k_file_weights;

    bool operator==(const WeightTypes &) const = default;
    const std::string &of(Phase phase) const { return phase == Phase::prefill ? prefill : decode; }
    bool is_auto() const { return prefill == k_auto_weights; }
    // "bf16", or "prefill=bf16,decode=file"
    std::string text() const;
};

// "bf16" (any case), "prefill=bf16" (decode as in the file), "prefill=bf16,decode=q4_0", "file" or
// "auto". Throws Error{usage} that lists the types.
WeightTypes weight_types_from_text(const std::string &text);

// The ggml_type of a type other than file and auto.
int ggml_type_of(const std::string &type);

}  // namespace orthorank
