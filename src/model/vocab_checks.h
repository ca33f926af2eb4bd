// What must hold of a GGUF file before libllama reads its vocabulary: libllama asserts some of it.
#pragma once

#include "model/gguf_file.h"

namespace orthorank {

// Throws Error{format} for tokenizers that are not supported, repeated or missing tokens, and ids
// outside the vocabulary.
void check_vocabulary(const GgufFile &file);

}  // namespace orthorank
