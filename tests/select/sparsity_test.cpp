#include "select/sparsity.h"

#include <gtest/gtest.h>

#include "support/errors.h"

namespace orthorank::test {
namespace {

TEST(Sparsity, IsAPercentageOrAPartOfTheModel) {
    EXPECT_DOUBLE_EQ(sparsity_from_text("20%"), 0.2);
    EXPECT_DOUBLE_EQ(sparsity_from_text("0.2"), 0.2);
    for (const char *text : {"", "%", "20", "0", "100%", "x", "-5%", "1e"}) {
        expect_error(ErrorKind::usage, "is not a part of the model",
                     [&] { sparsity_from_text(text); });
    }
    EXPECT_EQ(sparsity_text(0.29), "29%");
    EXPECT_EQ(sparsity_text(0.95 / 3), "31.6667%");
}

}  // namespace
}  // namespace orthorank::test
