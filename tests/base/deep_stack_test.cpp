#include "base/deep_stack.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "support/errors.h"

namespace orthorank {
namespace {

// One frame of a kilobyte and more for each level; the volatile array keeps it from being
// flattened.
int depth_of(int n) {
    volatile char frame[1024];
    frame[0] = static_cast<char>(n);
    return n == 0 ? frame[0] : 1 + depth_of(n - 1) + (frame[0] - static_cast<char>(n));
}

TEST(DeepStack, HoldsWhatTheUsualStackDoesNot) {
    constexpr int k_levels = 100000;  // 100 MB and more; the usual stack has 8
    int depth = 0;
    const size_t n_used = run_on_stack(size_t{1} << 30, [&] { depth = depth_of(k_levels); });
    EXPECT_EQ(depth, k_levels);
    EXPECT_GT(n_used, size_t{1024} * k_levels);
    EXPECT_LT(n_used, size_t{4096} * k_levels);
}

TEST(DeepStack, CostsOnlyWhatIsUsed) {
    bool is_run = false;
    const size_t n_used = run_on_stack(size_t{1} << 34, [&] { is_run = true; });
    EXPECT_TRUE(is_run);
    EXPECT_LT(n_used, size_t{1} << 20);
}

TEST(DeepStack, PassesOnWhatIsThrown) {
    EXPECT_THROW(run_on_stack(1 << 20, [] { throw std::out_of_range("x"); }), std::out_of_range);
}

TEST(DeepStack, RefusesWhatTheSystemDoesNotHave) {
    test::expect_error(ErrorKind::limit, "no address space",
                       [] { run_on_stack(size_t{1} << 60, [] {}); });
}

}  // namespace
}  // namespace orthorank
