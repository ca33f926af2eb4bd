// What to say about results that are no numbers (NaN, infinity): the cause, where a weight of the
// model's file is one. Thread-safe.
#pragma once

#include <string>

namespace orthorank {

// Throws Error{format} that names the first weight of the file that is not finite; if all are,
// Error{limit} with `advice`. `what` cannot be used, such as "logits". Reads the whole file
// (seconds for gigabytes).
[[noreturn]] void fail_not_finite(const std::string &gguf_path, const std::string &what,
                                  const std::string &advice);

}  // namespace orthorank
