// The element type of a KV cache. Plain data.
#pragma once

#include <string>

namespace orthorank {

enum class KvType { f16, f32, q8_0 };

// "f16", "f32" or "q8_0". Throws Error{usage} that lists them.
KvType kv_type_from_name(const std::string &name);

}  // namespace orthorank
