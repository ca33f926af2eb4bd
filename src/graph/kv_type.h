// The element type of a KV cache. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace orthorank {

struct Hparams;

enum class KvType { f16, f32, q8_0 };

// "f16", "f32" or "q8_0". Throws Error{usage} that lists them.
KvType kv_type_from_name(const std::string &name);

// The bytes that a cache of these measures takes, without making one.
int64_t kv_cache_bytes(const Hparams &hparams, KvType type, int n_ctx, int n_slots);

}  // namespace orthorank
