#include "select/selection.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace orthorank {
namespace {

// Picking compares 64-bit keys, best first: the score's rank in the upper half, the position in
// the lower, so that no two keys are equal and ties go to the lower position by themselves.
constexpr uint32_t k_rank_nan = 0xFFFFFFFEu;
constexpr uint32_t k_rank_sink = 0xFFFFFFFFu;

// Maps a score to an integer that sorts as the order wants. Infinities stay below k_rank_nan.
uint32_t score_rank(PickOrder order, float score) {
    if (score != score) {
        return k_rank_nan;
    }
    const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes +0: they tie
    const uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return order == PickOrder::smallest ? ascending : ~ascending;
}

uint64_t pick_key(PickOrder order, float score, size_t position) {
    const uint32_t rank = position == 0 ? k_rank_sink : score_rank(order, score);
    return (static_cast<uint64_t>(rank) << 32) | static_cast<uint64_t>(position);
}

// Is the last position among the k best? O(n), nothing allocated: one decoded token.
bool is_last_picked(PickOrder order, std::span<const float> scores, int64_t k) {
    const size_t last = scores.size() - 1;
    const uint64_t key = pick_key(order, scores[last], last);
    int64_t n_better = 0;
    for (size_t j = 0; j < last; ++j) {
        n_better += pick_key(order, scores[j], j) < key ? 1 : 0;
    }
    return n_better < k;
}

}  // namespace

int64_t n_selected(double ratio, int64_t n) {
    CHECK(ratio >= 0.0 && ratio <= 1.0);
    CHECK(n >= 0);
    return std::min(n, static_cast<int64_t>(ratio * static_cast<double>(n)));
}

std::vector<int32_t> pick_rows(PickOrder order, std::span<const float> scores, int64_t n_past,
                               double ratio) {
    const int64_t n = static_cast<int64_t>(scores.size());
    CHECK(n_past >= 0 && n_past <= n);
    CHECK(n <= INT32_MAX);
    const int64_t k = n_selected(ratio, n);
    std::vector<int32_t> rows;
    if (k == 0 || n_past == n) {
        return rows;
    }
    if (n - n_past == 1) {
        if (is_last_picked(order, scores, k)) {
            rows.push_back(static_cast<int32_t>(n - 1));
        }
        return rows;
    }

    std::vector<uint64_t> keys(scores.size());
    for (size_t i = 0; i < keys.size(); ++i) {
        keys[i] = pick_key(order, scores[i], i);
    }
    const auto kth = keys.begin() + (k - 1);
    std::nth_element(keys.begin(), kth, keys.end());
    const uint64_t worst_picked = *kth;

    // Walking the positions again yields them ascending, without a sort.
    rows.reserve(static_cast<size_t>(std::min(k, n - n_past)));
    for (int64_t i = n_past; i < n; ++i) {
        if (pick_key(order, scores[i], static_cast<size_t>(i)) <= worst_picked) {
            rows.push_back(static_cast<int32_t>(i));
        }
    }
    return rows;
}

}  // namespace orthorank
