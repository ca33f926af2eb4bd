// What keeps the GGUF files of others: looks at the first bytes of a file only. Thread-safe.
#pragma once

#include <string>

namespace orthorank {

// Whether a file (not a pipe or device, which are not touched) begins as GGUF files do.
bool is_gguf_file(const std::string &path);

// Throws Error{usage} where a GGUF file is already: models are large and hard to come by, so none
// is replaced, not even one that this program made.
void refuse_gguf_output(const std::string &path);

}  // namespace orthorank
