#include "base/resident_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace orthorank {
namespace {

TEST(ResidentMemory, GrowsByWhatIsTouched) {
    const std::optional<int64_t> before = peak_resident_bytes();
    if (!before) {
        GTEST_SKIP() << "this system does not say how much memory a process has used";
    }
    constexpr int64_t k_n_bytes = 64 << 20;
    // More than was ever there before, so that the peak must rise.
    std::vector<char> block(static_cast<size_t>(*before + k_n_bytes), 1);
    EXPECT_EQ(block.back(), 1);
    EXPECT_GE(peak_resident_bytes().value_or(0), *before + k_n_bytes / 2);
}

}  // namespace
}  // namespace orthorank
