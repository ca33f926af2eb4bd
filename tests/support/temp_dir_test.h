// A test with a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <string>

#include "support/paths.h"

namespace orthorank::test {

class TempDirTest : public testing::Test {
 protected:
    std::string path(const std::string &name) const { return dir_.file(name); }
    // Files and folders in it.
    size_t n_files() const {
        return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir_.path()),
                                                 std::filesystem::directory_iterator()));
    }

    TempDir dir_;
};

}  // namespace orthorank::test
