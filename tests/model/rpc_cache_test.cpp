// The folder of weights that an RPC server keeps.
#include "model/rpc_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/fnv1a.h"
#include "support/errors.h"
#include "support/temp_dir_test.h"

namespace orthorank::test {
namespace {

using testing::HasSubstr;

class RpcCache : public TempDirTest {
 protected:
    std::string folder_ = dir_.file("cache");
    std::string file(const std::string &name) const { return folder_ + "/" + name; }
};

TEST_F(RpcCache, FilesThatWereCutAreRemoved) {
    prepare_rpc_cache(folder_);
    const std::string weights(3 << 20, 'w');
    const std::string whole = file(fnv1a_hex(weights));
    const std::string cut = file(fnv1a_hex(weights + "!"));
    write_bytes(whole, weights);
    write_bytes(cut, weights);
    write_bytes(file("notes"), "mine");
    std::filesystem::create_directories(file("0123456789abcdef/mine"));
    prepare_rpc_cache(folder_);
    EXPECT_TRUE(std::filesystem::exists(whole));
    EXPECT_FALSE(std::filesystem::exists(cut));
    EXPECT_TRUE(std::filesystem::exists(file("notes")));
    EXPECT_TRUE(std::filesystem::exists(file("0123456789abcdef/mine"))) << "a folder";
}

TEST_F(RpcCache, WhatWasLookedAtIsNotReadAgain) {
    prepare_rpc_cache(folder_);
    const std::string damaged = file("0123456789abcdef");
    write_bytes(damaged, "w");
    const auto before = std::filesystem::last_write_time(file("checked")) - std::chrono::hours(1);
    std::filesystem::last_write_time(damaged, before);
    prepare_rpc_cache(folder_);
    EXPECT_TRUE(std::filesystem::exists(damaged));
}

TEST_F(RpcCache, FoldersThatAreNoneAreRefused) {
    expect_error(ErrorKind::file, "cannot be made",
                 [&] { prepare_rpc_cache(dir_.file("none/cache")); });
    write_bytes(folder_, "a file");
    expect_error(ErrorKind::file, "cannot be made", [&] { prepare_rpc_cache(folder_); });
}

}  // namespace
}  // namespace orthorank::test
