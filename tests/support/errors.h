// Assertions about Error: its kind and a part of its one line.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace orthorank::test {

// Runs f and expects an Error of that kind whose message has `part` in it and is one line.
template <typename Function>
void expect_error(ErrorKind kind, const std::string &part, Function f) {
    try {
        f();
        ADD_FAILURE() << "expected an error with \"" << part << "\"";
    } catch (const Error &error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr(part));
        EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
    }
}

}  // namespace orthorank::test
