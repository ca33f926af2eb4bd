#include "select/sparsity.h"

#include <cstdlib>

#include "base/error.h"

namespace orthorank {

double sparsity_from_text(const std::string &text) {
    const bool is_percent = text.ends_with('%');
    const std::string digits = text.substr(0, text.size() - (is_percent ? 1 : 0));
    char *end = nullptr;
    const double value = std::strtod(digits.c_str(), &end) / (is_percent ? 100.0 : 1.0);
    if (digits.empty() || *end != '\0' || !(value > 0.0 && value < 1.0)) {
        fail(ErrorKind::usage, "sparsity '{}' is not a part of the model: say 20% or 0.2", text);
    }
    return value;
}

std::string sparsity_text(double sparsity) {
    return fmt::format("{:g}%", 100.0 * sparsity);
}

}  // namespace orthorank
