#include "report/numbers_text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace orthorank {

std::string with_error(double value, double error, int n_digits) {
    return std::isfinite(error) ? fmt::format("{:.{}f} ± {:.{}f}", value, n_digits, error, n_digits)
                                : fmt::format("{:.{}f}", value, n_digits);
}

std::string bytes_text(int64_t n_bytes) {
    static constexpr std::array<const char *, 5> k_units = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(n_bytes);
    size_t unit = 0;
    while (value >= 1024.0 && unit + 1 < k_units.size()) {
        value /= 1024.0;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", n_bytes)
                     : fmt::format("{:.1f} {}", value, k_units[unit]);
}

std::string rounded_text(const std::optional<double> &value, int n_digits) {
    return value ? fmt::format("{:.{}f}", *value, n_digits) : "";
}

std::string exact_text(const std::optional<double> &value) {
    return value && std::isfinite(*value) ? fmt::format("{:.9g}", *value) : "";
}

}  // namespace orthorank
