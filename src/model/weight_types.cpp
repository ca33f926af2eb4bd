#include "model/weight_types.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace orthorank {

namespace {

// Those that ggml quantises to without an importance matrix.
constexpr std::array<ggml_type, 15> k_types = {
    GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16,   GGML_TYPE_Q8_0, GGML_TYPE_Q6_K,
    GGML_TYPE_Q5_K, GGML_TYPE_Q5_1,   GGML_TYPE_Q5_0,   GGML_TYPE_Q4_K, GGML_TYPE_Q4_1,
    GGML_TYPE_Q4_0, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_Q3_K, GGML_TYPE_Q2_K};

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

std::string name_of(ggml_type type) {
    return lower(ggml_type_name(type));
}

std::string known_type(const std::string &text, const std::string &others = "") {
    std::string known = others + k_file_weights;
    for (const ggml_type type : k_types) {
        known += ", " + name_of(type);
        if (lower(text) == name_of(type)) {
            return name_of(type);
        }
    }
    if (lower(text) != k_file_weights) {
        fail(ErrorKind::usage, "unknown weight type '{}' (known: {})", text, known);
    }
    return k_file_weights;
}

}  // namespace

std::string WeightTypes::text() const {
    return prefill == decode ? prefill : fmt::format("prefill={},decode={}", prefill, decode);
}

WeightTypes weight_types_from_text(const std::string &text) {
    if (lower(text) == k_auto_weights) {
        return {k_auto_weights, k_auto_weights};
    }
    if (text.find('=') == std::string::npos) {
        const std::string type = known_type(text, k_auto_weights + ", ");
        return {type, type};
    }
    WeightTypes types;
    for (size_t first = 0; first <= text.size();) {
        const size_t end = std::min(text.find(',', first), text.size());
        const std::string part = text.substr(first, end - first);
        const size_t equals = std::min(part.find('='), part.size());
        const std::string phase = lower(part.substr(0, equals));
        if (equals == part.size() || (phase != "prefill" && phase != "decode")) {
            fail(ErrorKind::usage, "weights '{}' are not of the form prefill=TYPE,decode=TYPE",
                 text);
        }
        (phase == "prefill" ? types.prefill : types.decode) = known_type(part.substr(equals + 1));
        first = end + 1;
    }
    return types;
}

int ggml_type_of(const std::string &type) {
    for (const ggml_type known : k_types) {
        if (type == name_of(known)) {
            return known;
        }
    }
    CHECK(!"a known weight type");
    return 0;
}

}  // namespace orthorank
