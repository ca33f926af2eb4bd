// Numbers as texts for tables and CSV. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orthorank {

// "12.34 ± 0.56", or "12.34" where there is no error.
std::string with_error(double value, double error, int n_digits);

// "1.5 GiB", "300.0 KiB", "12 B"
std::string bytes_text(int64_t n_bytes);

// "1.235", or nothing.
std::string rounded_text(const std::optional<double> &value, int n_digits = 3);

// With nine digits, for programs to read; nothing where it is missing or no finite number.
std::string exact_text(const std::optional<double> &value);

}  // namespace orthorank
