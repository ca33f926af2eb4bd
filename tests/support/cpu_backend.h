// ggml's CPU back end for tests of single operations, linked or loaded as a module.
#pragma once

#include <ggml-backend.h>
#include <ggml-cpp.h>

#include <string>

namespace orthorank::test {

ggml_backend_ptr cpu_backend();

// Whether ggml's CPU back end is compiled for this feature of the processor, such as "AVX512".
bool ggml_has(const std::string &feature);

}  // namespace orthorank::test
