// libgomp says with OMP_DISPLAY_ENV what it was loaded with.
#include "cli/spin_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/program.h"

namespace orthorank::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What libgomp reports when the program runs with these words for env(1).
std::string libgomp_report(std::vector<std::string> words) {
    words.insert(words.end(), {"OMP_DISPLAY_ENV=verbose", ORTHORANK_PROGRAM, "--version"});
    const ProgramResult result = run_program("/usr/bin/env", words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("orthorank ")) << "the arguments went along";
    return result.err;
}

TEST(SpinLimit, IsSetBeforeLibgompIsLoaded) {
    EXPECT_THAT(libgomp_report({"-u", "OMP_WAIT_POLICY", "-u", "GOMP_SPINCOUNT"}),
                HasSubstr("GOMP_SPINCOUNT = '5000'"));
}

TEST(SpinLimit, LeavesTheUsersOwnSetting) {
    EXPECT_THAT(libgomp_report({"-u", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT=7"}),
                HasSubstr("GOMP_SPINCOUNT = '7'"));
    EXPECT_THAT(libgomp_report({"-u", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY=passive"}),
                Not(HasSubstr("'5000'")));
}

}  // namespace
}  // namespace orthorank::test
