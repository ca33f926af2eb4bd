#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orthorank {
namespace {

TEST(Error, KeepsKindAndFormatsTheMessage) {
    try {
        fail(ErrorKind::limit, "prompt has {} tokens, context is {}", 9, 8);
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), ErrorKind::limit);
        EXPECT_STREQ(error.what(), "prompt has 9 tokens, context is 8");
    }
}

TEST(Error, FailedCheckNamesTheExpressionAndPlace) {
    const int n_rows = 3;
    CHECK(n_rows == 3);
    try {
        CHECK(n_rows == 4);
        FAIL() << "passed";
    } catch (const InternalError &error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("error_test.cpp:"));
        EXPECT_THAT(error.what(), testing::HasSubstr("internal check failed: n_rows == 4"));
    }
}

}  // namespace
}  // namespace orthorank
