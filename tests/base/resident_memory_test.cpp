#include "base/resident_memory.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "support/temp_dir_test.h"

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

// Blocks of less than a page at the heap's end keep all that is free before them.
TEST(ResidentMemory, FreePagesBetweenBlocksGoBack) {
    constexpr size_t k_n_blocks = 16 << 10;
    constexpr size_t k_n_bytes = 8 << 10;
    std::vector<std::unique_ptr<std::vector<char>>> blocks;
    for (size_t i = 0; i < k_n_blocks; ++i) {
        blocks.push_back(std::make_unique<std::vector<char>>(k_n_bytes, 1));
    }
    for (size_t i = 0; i < k_n_blocks; ++i) {
        if (i % 16 != 0) {
            blocks[i].reset();
        }
    }
    const std::optional<int64_t> before = resident_bytes();
    return_freed_memory();
    const std::optional<int64_t> after = resident_bytes();
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(after.value(), before.value() - (64 << 20));
#else
    EXPECT_LE(after.value_or(0), before.value_or(0) + (1 << 20));
#endif
    EXPECT_EQ(blocks[0]->back(), 1);
}

using AvailableMemory = test::TempDirTest;

TEST_F(AvailableMemory, IsWhatTheKernelEstimatesAndNotWhatIsFree) {
    const std::string file = dir_.file("meminfo");
    EXPECT_EQ(available_bytes(file), std::nullopt) << "no such file";
    test::write_bytes(file,
                      "MemTotal:        8029336 kB\nMemFree:          136192 kB\n"
                      "MemAvailable:    4194304 kB\nSwapTotal:             0 kB\n");
    EXPECT_EQ(available_bytes(file), int64_t{4} << 30);
    test::write_bytes(file, "MemTotal:        8029336 kB\nMemFree:          136192 kB\n");
    EXPECT_EQ(available_bytes(file), std::nullopt) << "a kernel that does not say it";
}

}  // namespace
}  // namespace orthorank
