#include "base/fnv1a.h"

#include <fmt/format.h>

namespace orthorank {

void Fnv1a::bytes(const void *data, size_t n) {
    const auto *p = static_cast<const unsigned char *>(data);
    for (size_t i = 0; i < n; ++i) {
        hash_ = (hash_ ^ p[i]) * 0x100000001b3ULL;
    }
}

void Fnv1a::text(std::string_view value) {
    integer(static_cast<int64_t>(value.size()));
    bytes(value.data(), value.size());
}

std::string Fnv1a::hex() const {
    return fmt::format("{:016x}", hash_);
}

std::string fnv1a_hex(std::string_view bytes) {
    Fnv1a hash;
    hash.bytes(bytes.data(), bytes.size());
    return hash.hex();
}

}  // namespace orthorank
