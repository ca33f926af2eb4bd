// Blocks come back as they were written, from memory and from the file.
#include "calibration/hidden_store.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "support/errors.h"

namespace orthorank {
namespace {

constexpr size_t k_n_slots = 5;
constexpr size_t k_n_floats = 100;
constexpr int64_t k_block_bytes = k_n_floats * sizeof(float);

std::vector<float> block_of(size_t slot, float offset) {
    std::vector<float> block(k_n_floats);
    for (size_t i = 0; i < block.size(); ++i) {
        block[i] = offset + static_cast<float>(slot * k_n_floats + i);
    }
    return block;
}

TEST(HiddenStore, GivesBackWhatWasWrittenLast) {
    for (size_t n_kept = 0; n_kept <= k_n_slots + 1; ++n_kept) {
        const auto budget = static_cast<int64_t>(n_kept) * k_block_bytes + k_block_bytes / 2;
        HiddenStore store(k_n_slots, k_n_floats, budget);
        EXPECT_EQ(store.n_spilled(), k_n_slots - std::min(n_kept, k_n_slots));
        for (size_t slot : {3, 0, 4, 1, 2}) {
            store.write(slot, block_of(slot, 0.5F));
        }
        store.write(1, block_of(1, 0.25F));
        store.write(4, block_of(4, 0.25F));
        std::vector<float> scratch;
        for (size_t slot : {4, 3, 2, 1, 0}) {
            const std::span<const float> found = store.read(slot, scratch);
            EXPECT_EQ(std::vector<float>(found.begin(), found.end()),
                      block_of(slot, slot == 1 || slot == 4 ? 0.25F : 0.5F));
        }
    }
}

TEST(HiddenStore, SaysThatThereIsNoPlaceForTheFile) {
    const char *before = std::getenv("TMPDIR");
    const std::string kept = before == nullptr ? "" : before;
    setenv("TMPDIR", "/no/such/folder", 1);
    HiddenStore store(1, k_n_floats, 0);
    test::expect_error(ErrorKind::file, "TMPDIR", [&] { store.write(0, block_of(0, 0)); });
    if (before == nullptr) {
        unsetenv("TMPDIR");
    } else {
        setenv("TMPDIR", kept.c_str(), 1);
    }
}

}  // namespace
}  // namespace orthorank
