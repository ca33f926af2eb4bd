// A sparsity as people write it. Pure functions, thread-safe.
#pragma once

#include <string>

namespace orthorank {

// "20%" or "0.2". Throws Error{usage} for what is not between 0 and 1.
double sparsity_from_text(const std::string &text);

// "20%", "31.6667%".
std::string sparsity_text(double sparsity);

}  // namespace orthorank
