// Bounds of the numbers in a file: far above every known model, low enough that no product of two
// of them overflows an int.
#pragma once

#include <cstdint>

namespace orthorank {

constexpr int64_t k_max_layers = 512;  // libllama's limit too
constexpr int64_t k_max_embd = 1 << 20;
constexpr int64_t k_max_ff = 1 << 22;
constexpr int64_t k_max_heads = 1 << 14;
constexpr int64_t k_max_head_dim = 1 << 14;
constexpr int64_t k_max_vocab = 1 << 24;
constexpr int64_t k_max_experts = 1024;  // libllama's limit too
constexpr int64_t k_max_context = 1 << 27;

}  // namespace orthorank
