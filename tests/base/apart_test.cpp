#include "base/apart.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "support/errors.h"

namespace orthorank {
namespace {

using test::expect_error;

TEST(RunApart, ReturnsWhatIsMadeAndChangesNothing) {
    int seen = 1;
    const std::string long_text(300'000, 'x');  // more than a pipe holds
    EXPECT_EQ(run_apart({},
                        [&] {
                            seen = 2;
                            return long_text + '\0';
                        }),
              long_text + '\0');
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(run_apart({}, [] { return std::string(); }), "");
}

TEST(RunApart, ErrorsComeBackAsTheyAre) {
    expect_error(ErrorKind::request, "not so", [] {
        run_apart({}, []() -> std::string { fail(ErrorKind::request, "not so"); });
    });
    expect_error(ErrorKind::format, "from a library", [] {
        run_apart({}, []() -> std::string { throw std::runtime_error("from a library"); });
    });
}

// Frames of a kilobyte, for ever.
int endless(int n) {
    volatile char frame[1024];
    frame[0] = static_cast<char>(n);
    return n < 0 ? 0 : endless(n + 1) + frame[0];
}

TEST(RunApart, WhatGoesWrongThereIsAnErrorHere) {
    const auto reached = [](const std::string &part, const std::function<std::string()> &work) {
        ApartLimits limits;
        limits.seconds = 1;
        expect_error(ErrorKind::limit, part, [&] { run_apart(limits, work); });
    };
    reached("more than 1 s", []() -> std::string {
        for (;;) {
            ::pause();
        }
    });
    reached("it was ended (signal 6)", []() -> std::string { std::abort(); });
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // A sanitizer has ends of its own for these.
    reached("nested too deep", [] { return std::to_string(endless(0)); });
    reached("too much memory", [] { return std::string(size_t{1} << 31, 'x'); });
#endif
}

}  // namespace
}  // namespace orthorank
