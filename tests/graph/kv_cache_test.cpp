// The cache by itself: memory follows the cells that are open, opened cells hold zeros, and what no
// type can hold is found.
#include "graph/kv_cache.h"

#include <ggml-backend.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <optional>

#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

Hparams hparams(int head_dim = 32) {
    Hparams h;
    h.n_layers = 3;
    h.n_embd = 64;
    LayerSpec layer;
    layer.head_dim = head_dim;
    layer.n_head = layer.n_head_kv = 2;
    layer.n_ff = 64;
    h.layers.assign(3, layer);
    return h;
}

KvCache make_cache(KvType type, int n_ctx, int n_slots = 1) {
    const std::vector by_layer(3, ggml_backend_cpu_buffer_type());
    return {hparams(), by_layer, type, n_ctx, n_slots};
}

std::vector<uint8_t> row(const KvCache &cache, int il, int slot, int64_t position) {
    std::vector<uint8_t> bytes(cache.v(il)->nb[1]);
    ggml_backend_tensor_get(cache.v(il), bytes.data(),
                            bytes.size() * static_cast<size_t>(cache.cell(slot, position)),
                            bytes.size());
    return bytes;
}

void write_row(const KvCache &cache, int il, int slot, int64_t position, uint8_t value) {
    const std::vector<uint8_t> bytes(cache.v(il)->nb[1], value);
    ggml_backend_tensor_set(cache.v(il), bytes.data(),
                            bytes.size() * static_cast<size_t>(cache.cell(slot, position)),
                            bytes.size());
}

// Bytes of this process in physical memory, where the system says so.
std::optional<int64_t> resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    int64_t n_pages = 0;
    int64_t n_resident = 0;
    if (!(statm >> n_pages >> n_resident)) {
        return std::nullopt;
    }
    return n_resident * ::sysconf(_SC_PAGESIZE);
}

TEST(KvCacheMemory, AMillionTokensOfContextWereResidentAtOnce) {
    const std::optional<int64_t> before = resident_bytes();
    if (!before) {
        GTEST_SKIP() << "this system does not say how much memory a process uses";
    }
    KvCache cache = make_cache(KvType::f16, 1 << 20, 2);
    ASSERT_GT(cache.bytes(), int64_t{1} << 30);
    cache.open_cells(0, 256);
    cache.open_cells(1, 256);
    // A huge page each for two slots of six tensors, and some.
    EXPECT_LT(*resident_bytes() - *before, int64_t{64} << 20);
    cache.open_cells(0, 1 << 19);
    EXPECT_GT(*resident_bytes() - *before, cache.bytes() / 4 - (int64_t{64} << 20));
}

TEST(KvCacheMemory, OpenedCellsAreZeroAndThoseThatWereOpenStay) {
    KvCache cache = make_cache(KvType::f16, 512, 2);
    const std::vector<uint8_t> zeros(cache.v(0)->nb[1], 0);
    const std::vector<uint8_t> ones(zeros.size(), 1);
    for (int64_t position : {0, 255, 256, 511}) {
        write_row(cache, 2, 1, position, 1);
    }
    cache.open_cells(1, 256);
    EXPECT_EQ(row(cache, 2, 1, 0), zeros);
    EXPECT_EQ(row(cache, 2, 1, 255), zeros);
    EXPECT_EQ(row(cache, 2, 1, 256), ones);
    write_row(cache, 2, 1, 0, 1);
    cache.open_cells(1, 512);
    EXPECT_EQ(row(cache, 2, 1, 0), ones);
    EXPECT_EQ(row(cache, 2, 1, 256), zeros);
    write_row(cache, 2, 1, 1, 1);
    cache.close_cells(1, 1);
    cache.open_cells(1, 256);
    EXPECT_EQ(row(cache, 2, 1, 0), ones);
    EXPECT_EQ(row(cache, 2, 1, 1), zeros);
}

// What was copied is not cleared when more of the copy is opened.
TEST(KvCacheMemory, CopiedCellsAreOpen) {
    KvCache cache = make_cache(KvType::f16, 512, 2);
    cache.open_cells(0, 256);
    write_row(cache, 1, 0, 99, 7);
    cache.copy_cells(0, 1, 100, 3);
    cache.open_cells(1, 256);
    EXPECT_EQ(row(cache, 1, 1, 99), row(cache, 1, 0, 99));
}

TEST(KvCacheNumbers, WhatNoTypeHoldsIsFound) {
    const KvType types[] = {KvType::f16, KvType::f32, KvType::q8_0};
    for (const KvType type : types) {
        KvCache cache = make_cache(type, 256);
        cache.open_cells(0, 256);
        EXPECT_TRUE(cache.is_finite(1, 0, 0, 256));
        write_row(cache, 1, 0, 3, 0xff);  // a NaN in every type
        EXPECT_FALSE(cache.is_finite(1, 0, 0, 4)) << kv_type_name(type);
        EXPECT_FALSE(cache.is_finite(1, 0, 3, 1)) << kv_type_name(type);
        EXPECT_TRUE(cache.is_finite(1, 0, 0, 3));
        EXPECT_TRUE(cache.is_finite(1, 0, 4, 200));
        EXPECT_TRUE(cache.is_finite(0, 0, 0, 256));
    }
}

TEST(KvTypes, SizesAndNamesAreKnownInOnePlace) {
    EXPECT_EQ(kv_element_bytes(KvType::f16), 2.0);
    EXPECT_EQ(kv_element_bytes(KvType::f32), 4.0);
    EXPECT_EQ(kv_element_bytes(KvType::q8_0), 34.0 / 32.0);
    for (const KvType type : {KvType::f16, KvType::f32, KvType::q8_0}) {
        EXPECT_EQ(kv_type_from_name(kv_type_name(type)), type);
        EXPECT_EQ(kv_cache_bytes(hparams(), type, 256, 2), make_cache(type, 256, 2).bytes());
        EXPECT_EQ(static_cast<double>(kv_cache_bytes(hparams(), type, 256, 1)),
                  256 * 3 * 2 * 64 * kv_element_bytes(type));
    }
    expect_error(ErrorKind::usage, "known: f16, f32, q8_0", [] { kv_type_from_name("q4_0"); });
    expect_error(ErrorKind::usage, "q8_0 KV cache needs head sizes divisible by 32",
                 [] { kv_cache_bytes(hparams(16), KvType::q8_0, 256, 1); });
}

}  // namespace
}  // namespace orthorank::test
