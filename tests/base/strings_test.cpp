#include "base/strings.h"

#include <gtest/gtest.h>

namespace orthorank {
namespace {

TEST(Strings, SplitAtKeepsEmptyPieces) {
    EXPECT_EQ(split_at("a..b.", '.'), (std::vector<std::string>{"a", "", "b", ""}));
    EXPECT_EQ(split_at("", '.'), std::vector<std::string>{""});
}

TEST(Strings, ReplaceAllGoesFromTheLeftWithoutOverlap) {
    EXPECT_EQ(replace_all("a   b", "  ", " "), "a  b");
    EXPECT_EQ(replace_all("a|b|", "|", "\\|"), "a\\|b\\|");
    EXPECT_EQ(replace_all("abc", "x", "y"), "abc");
}

}  // namespace
}  // namespace orthorank
