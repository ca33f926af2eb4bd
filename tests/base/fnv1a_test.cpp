#include "base/fnv1a.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

// The published test vectors of FNV-1a, 64 bits.
TEST(Fnv1a, PublishedVectors) {
    EXPECT_EQ(fnv1a_hex(""), "cbf29ce484222325");
    EXPECT_EQ(fnv1a_hex("a"), "af63dc4c8601ec8c");
    EXPECT_EQ(fnv1a_hex("foobar"), "85944171f73967e8");
}

TEST(Fnv1a, TextsKeepTheirBorders) {
    const auto hash_of = [](std::string_view first, std::string_view second) {
        Fnv1a hash;
        hash.text(first);
        hash.text(second);
        return hash.hex();
    };
    EXPECT_NE(hash_of("ab", "c"), hash_of("a", "bc"));
    Fnv1a parts;
    parts.bytes("foo", 3);
    parts.bytes("bar", 3);
    EXPECT_EQ(parts.hex(), fnv1a_hex("foobar"));
}

}  // namespace
}  // namespace orthorank
