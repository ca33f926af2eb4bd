// The element type of a KV cache: all that is known of it. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace orthorank {

struct Hparams;

enum class KvType { f16, f32, q8_0 };

// "f16", "f32" or "q8_0". Throws Error{usage} that lists them.
KvType kv_type_from_name(const std::string &name);
// Its name in that sense.
const char *kv_type_name(KvType type);
// As a ggml_type.
int ggml_type_of(KvType type);
// Bytes of one element; with its part of a scale where several share one.
double kv_element_bytes(KvType type);

// Throws Error{usage} when the model's heads are no whole blocks of the type (Q8_0: of 32).
void check_kv_type(const Hparams &hparams, KvType type);

// The bytes that a cache of these measures takes when it is full, without making one; those of
// layer il. Throw as check_kv_type does.
int64_t kv_cache_bytes(const Hparams &hparams, KvType type, int n_ctx, int n_slots);
int64_t kv_layer_bytes(const Hparams &hparams, KvType type, int il, int n_ctx, int n_slots);

}  // namespace orthorank
