// A sparsity as people write it. Pure function, thread-safe.
#pragma once

#include <string>

namespace orthorank {

// "20%" or "0.2". Throws Error{usage} for what is not between 0 and 1.
double sparsity_from_text(const std::string &text);

}  // namespace orthorank
