// One group of rows of cpu_attention(): the sums themselves, for a register of L::n floats
// (cpu_lanes.h). Included by the files of a level alone, each of which has its own copy.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "ggml.h"
#include "graph/cpu_attention_kernel.h"
#include "graph/cpu_lanes.h"

namespace orthorank {

namespace {

// Floats from key to key of a tile: known to the compiler, and no power of two, so that the tile's
// cache lines do not collide.
constexpr int k_key_stride = k_max_dim_k + 16;
constexpr float k_infinity = std::numeric_limits<float>::infinity();

inline const char *row_of(const ggml_tensor *tensor, int64_t i1, int64_t i2) {
    return static_cast<const char *>(tensor->data) + i1 * static_cast<int64_t>(tensor->nb[1]) +
           i2 * static_cast<int64_t>(tensor->nb[2]);
}

// What a tile's mask leaves to compute: the keys before n_keys, unless is_partial all of them by
// every row.
struct Visible {
    int n_keys = 0;
    bool is_partial = false;
};

// One group of queries, 2 L::n of consecutive rows, with all query heads of one KV head. Arrays of
// numbers by query have n_queries of them, padding behind the last row.
template <typename L>
class Group {
 public:
    static constexpr int n_queries = 2 * L::n;

    static constexpr AttentionKernel kernel() { return {n_queries, scratch_bytes, compute}; }

 private:
    using Vec = typename L::Vec;

    static size_t scratch_bytes(const ggml_tensor *node) {
        return Group(node).n_floats() * sizeof(float);
    }
    static void compute(ggml_tensor *node, int64_t first_row, int64_t kv_head, void *scratch) {
        Group group(node);
        group.begin(node, first_row, kv_head, static_cast<float *>(scratch));
        group.compute();
    }

    explicit Group(const ggml_tensor *node)
        : q_(node->src[0]),
          k_(node->src[1]),
          v_(node->src[2]),
          mask_(node->src[3]),
          sinks_(node->src[4]),
          dim_k_(static_cast<int>(q_->ne[0])),
          dim_v_(static_cast<int>(v_->ne[0])),
          n_heads_(static_cast<int>(q_->ne[1] / k_->ne[2])),
          scale_(scale_of(node)) {}

    static float scale_of(const ggml_tensor *node) {
        float scale;
        std::memcpy(&scale, &node->op_params[k_scale_slot], sizeof(scale));
        return scale;
    }

    size_t n_query_floats() const { return static_cast<size_t>(dim_k_) * n_queries; }
    size_t n_sum_floats() const { return static_cast<size_t>(dim_v_) * n_queries; }
    size_t n_value_floats() const { return static_cast<size_t>(dim_v_) * k_keys_of_tile; }
    static constexpr size_t k_key_floats = size_t{k_key_stride} * k_keys_of_tile;
    static constexpr size_t k_score_floats = size_t{k_keys_of_tile} * n_queries;
    size_t n_floats() const {
        return static_cast<size_t>(n_heads_) * (n_query_floats() + n_sum_floats() + 2 * n_queries) +
               k_key_floats + n_value_floats() + 2 * k_score_floats;
    }

    void begin(ggml_tensor *node, int64_t first_row, int64_t kv_head, float *memory) {
        node_ = node;
        first_row_ = first_row;
        n_rows_ = static_cast<int>(std::min<int64_t>(n_queries, q_->ne[2] - first_row));
        kv_head_ = kv_head;
        const auto heads = static_cast<size_t>(n_heads_);
        const auto take = [&memory](size_t n) {
            float *taken = memory;
            memory += n;
            return taken;
        };
        queries_ = take(heads * n_query_floats());
        sums_ = take(heads * n_sum_floats());
        max_ = take(heads * n_queries);
        total_ = take(heads * n_queries);
        keys_ = take(k_key_floats);
        values_ = take(n_value_floats());
        scores_ = take(k_score_floats);
        mask_of_tile_ = take(k_score_floats);
        std::fill_n(sums_, heads * n_sum_floats(), 0.0f);
        std::fill_n(max_, heads * n_queries, -k_infinity);
        std::fill_n(total_, heads * n_queries, 0.0f);
    }

    void compute() {
        for (int head = 0; head < n_heads_; ++head) {
            load_queries(head);
        }
        for (int64_t first_key = 0; first_key < k_->ne[1]; first_key += k_keys_of_tile) {
            const Visible visible = look_at_mask(first_key);
            if (visible.n_keys == 0) {
                continue;
            }
            load_rows(k_, first_key, visible.n_keys, keys_, k_key_stride);
            load_rows(v_, first_key, visible.n_keys, values_, dim_v_);
            for (int head = 0; head < n_heads_; ++head) {
                score(head, visible);
                soften(head, visible.n_keys);
                add_values(head, visible.n_keys);
            }
        }
        for (int head = 0; head < n_heads_; ++head) {
            if (sinks_ != nullptr) {
                add_sink(head);
            }
            store(head);
        }
    }

    // [dim_k, n_rows] -> [n_queries, dim_k]
    void load_queries(int head) {
        float *to = queries_ + static_cast<ptrdiff_t>(head) * dim_k_ * n_queries;
        for (int row = 0; row < n_queries; ++row) {
            if (row >= n_rows_) {
                for (int d = 0; d < dim_k_; ++d) {
                    to[d * n_queries + row] = 0.0f;
                }
                continue;
            }
            const auto *from = reinterpret_cast<const float *>(
                row_of(q_, kv_head_ * n_heads_ + head, first_row_ + row));
            for (int d = 0; d < dim_k_; ++d) {
                to[d * n_queries + row] = from[d];
            }
        }
    }

    // A tile of keys or values as floats, [dim, n_keys] with this stride.
    void load_rows(const ggml_tensor *from, int64_t first_key, int n_keys, float *to,
                   int stride) const {
        const int dim = static_cast<int>(from->ne[0]);
        for (int key = 0; key < n_keys; ++key, to += stride) {
            const char *row = row_of(from, first_key + key, kv_head_);
            if (from->type == GGML_TYPE_F32) {
                std::memcpy(to, row, static_cast<size_t>(dim) * sizeof(float));
                continue;
            }
            for (int d = 0; d < dim; d += L::n) {
                L::store(to + d, L::load_f16(reinterpret_cast<const uint16_t *>(row) + d));
            }
        }
    }

    const uint16_t *mask_row(int row, int64_t first_key) const {
        return reinterpret_cast<const uint16_t *>(row_of(mask_, first_row_ + row, 0)) + first_key;
    }

    // Finds what a tile's mask leaves, in steps of L::n keys, and where that is not all or nothing
    // writes it to mask_of_tile_ [n_queries, k_keys_of_tile].
    Visible look_at_mask(int64_t first_key) {
        Visible visible;
        bool hides = false;
        for (int row = 0; row < n_rows_; ++row) {
            const uint16_t *mask = mask_row(row, first_key);
            for (int key = k_keys_of_tile - L::n; key >= 0; key -= L::n) {
                const unsigned zeros = L::zeros(mask + key);
                hides |= zeros != L::all_zero;
                if (zeros != 0) {
                    visible.n_keys = std::max(visible.n_keys, key + L::n);
                }
            }
        }
        visible.is_partial = hides && visible.n_keys > 0;
        if (visible.is_partial) {
            expand_mask(first_key, visible.n_keys);
        }
        return visible;
    }

    void expand_mask(int64_t first_key, int n_keys) {
        for (int row = 0; row < n_queries; ++row) {
            for (int key = 0; key < n_keys; ++key) {
                const bool is_visible = row >= n_rows_ || mask_row(row, first_key)[key] == 0;
                mask_of_tile_[key * n_queries + row] = is_visible ? 0.0f : -k_infinity;
            }
        }
    }

    // scores_ [n_queries, n_keys] = keys x queries * scale + mask
    void score(int head, const Visible &visible) {
        constexpr int n_at_once = L::n_keys_at_once;
        const float *queries = queries_ + static_cast<ptrdiff_t>(head) * dim_k_ * n_queries;
        const Vec scale = L::set(scale_);
        for (int first = 0; first < visible.n_keys; first += n_at_once) {
            Vec sums[n_at_once][2];
            for (auto &of_key : sums) {
                of_key[0] = of_key[1] = L::set(0.0f);
            }
            const float *keys = keys_ + first * k_key_stride;
            for (int d = 0; d < dim_k_; ++d) {
                const Vec left = L::load(queries + d * n_queries);
                const Vec right = L::load(queries + d * n_queries + L::n);
                for (int key = 0; key < n_at_once; ++key) {
                    const Vec x = L::set(keys[key * k_key_stride + d]);
                    sums[key][0] = L::fma(left, x, sums[key][0]);
                    sums[key][1] = L::fma(right, x, sums[key][1]);
                }
            }
            for (int key = 0; key < n_at_once; ++key) {
                for (int half = 0; half < 2; ++half) {
                    const int at = (first + key) * n_queries + half * L::n;
                    Vec x = L::mul(sums[key][half], scale);
                    if (visible.is_partial) {
                        x = L::add(x, L::load(mask_of_tile_ + at));
                    }
                    L::store(scores_ + at, x);
                }
            }
        }
    }

    // scores_ -> exp(scores_ - the maximum so far), the running maximum, sum, and sum of values
    // brought to it.
    void soften(int head, int n_keys) {
        for (int half = 0; half < 2; ++half) {
            float *scores = scores_ + half * L::n;
            Vec highest = L::load(scores);
            for (int key = 1; key < n_keys; ++key) {
                highest = L::max(highest, L::load(scores + key * n_queries));
            }
            std::array<float, L::n> tile_max;
            L::store(tile_max.data(), highest);
            const int first = half * L::n;
            raise_max(head, first, tile_max);
            exponentiate(scores, n_keys, tile_max,
                         total_ + static_cast<ptrdiff_t>(head) * n_queries + first);
        }
    }

    // Queries first..: the new maxima; what is summed so far is scaled down to them. tile_max
    // becomes what to subtract: the maximum, or 0 where nothing was visible yet.
    void raise_max(int head, int first, std::array<float, L::n> &tile_max) {
        for (int i = 0; i < L::n; ++i) {
            const ptrdiff_t query = static_cast<ptrdiff_t>(head) * n_queries + first + i;
            if (tile_max[i] > max_[query]) {
                const float down = std::exp(max_[query] - tile_max[i]);
                total_[query] *= down;
                scale_sum(query, down);
                max_[query] = tile_max[i];
            }
            tile_max[i] = max_[query] == -k_infinity ? 0.0f : max_[query];
        }
    }

    // Sums over keys in ggml's order: halves of L::n keys onto each other, then in double.
    static void exponentiate(float *scores, int n_keys, const std::array<float, L::n> &subtract,
                             float *total) {
        const Vec highest = L::load(subtract.data());
        std::array<double, L::n> of_tile{};
        for (int first = 0; first < n_keys; first += L::n) {
            Vec x[L::n];
            for (int key = 0; key < L::n; ++key) {
                float *at = scores + (first + key) * n_queries;
                x[key] = exponential<L>(L::sub(L::load(at), highest));
                L::store(at, x[key]);
            }
            for (int n_left = L::n / 2; n_left > 0; n_left /= 2) {
                for (int i = 0; i < n_left; ++i) {
                    x[i] = L::add(x[i], x[i + n_left]);
                }
            }
            std::array<float, L::n> sum;
            L::store(sum.data(), x[0]);
            for (int i = 0; i < L::n; ++i) {
                of_tile[i] += static_cast<double>(sum[i]);
            }
        }
        for (int i = 0; i < L::n; ++i) {
            total[i] = static_cast<float>(static_cast<double>(total[i]) + of_tile[i]);
        }
    }

    // sums_ [dim_v, n_queries] += values x scores_
    void add_values(int head, int n_keys) {
        constexpr int n_queries_at_once = 4;
        constexpr int step = L::n_values_at_once * L::n;
        for (int query = 0; query < n_queries; query += n_queries_at_once) {
            float *sum = sums_ + (static_cast<ptrdiff_t>(head) * n_queries + query) * dim_v_;
            int d = 0;
            for (; d + step <= dim_v_; d += step) {
                add_values<n_queries_at_once, L::n_values_at_once>(query, d, n_keys, sum);
            }
            for (; d < dim_v_; d += L::n) {
                add_values<n_queries_at_once, 1>(query, d, n_keys, sum);
            }
        }
    }

    template <int n_of_queries, int n_of_values>
    void add_values(int query, int d, int n_keys, float *sum) {
        Vec sums[n_of_queries][n_of_values];
        for (int i = 0; i < n_of_queries; ++i) {
            for (int j = 0; j < n_of_values; ++j) {
                sums[i][j] = L::load(sum + i * dim_v_ + d + j * L::n);
            }
        }
        for (int key = 0; key < n_keys; ++key) {
            Vec values[n_of_values];
            for (int j = 0; j < n_of_values; ++j) {
                values[j] = L::load(values_ + key * dim_v_ + d + j * L::n);
            }
            for (int i = 0; i < n_of_queries; ++i) {
                const Vec x = L::set(scores_[key * n_queries + query + i]);
                for (int j = 0; j < n_of_values; ++j) {
                    sums[i][j] = L::fma(values[j], x, sums[i][j]);
                }
            }
        }
        for (int i = 0; i < n_of_queries; ++i) {
            for (int j = 0; j < n_of_values; ++j) {
                L::store(sum + i * dim_v_ + d + j * L::n, sums[i][j]);
            }
        }
    }

    // The head's sink logit, which has no value.
    void add_sink(int head) {
        const float sink = static_cast<const float *>(sinks_->data)[kv_head_ * n_heads_ + head];
        for (int row = 0; row < n_rows_; ++row) {
            const ptrdiff_t query = static_cast<ptrdiff_t>(head) * n_queries + row;
            if (sink <= max_[query]) {
                total_[query] += std::exp(sink - max_[query]);
                continue;
            }
            const float down = std::exp(max_[query] - sink);
            total_[query] = std::fma(total_[query], down, 1.0f);
            scale_sum(query, down);
        }
    }

    void scale_sum(ptrdiff_t query, float factor) {
        float *sum = sums_ + query * dim_v_;
        const Vec by = L::set(factor);
        for (int d = 0; d < dim_v_; d += L::n) {
            L::store(sum + d, L::mul(L::load(sum + d), by));
        }
    }

    void store(int head) const {
        for (int row = 0; row < n_rows_; ++row) {
            const ptrdiff_t query = static_cast<ptrdiff_t>(head) * n_queries + row;
            const float *sum = sums_ + query * dim_v_;
            const Vec by = L::set(total_[query] == 0.0f ? 0.0f : 1.0f / total_[query]);
            auto *to = reinterpret_cast<float *>(
                const_cast<char *>(row_of(node_, kv_head_ * n_heads_ + head, first_row_ + row)));
            for (int d = 0; d < dim_v_; d += L::n) {
                L::store(to + d, L::mul(L::load(sum + d), by));
            }
        }
    }

    ggml_tensor *node_ = nullptr;
    const ggml_tensor *q_, *k_, *v_, *mask_, *sinks_;
    int dim_k_, dim_v_;
    int n_heads_;  // query heads of this KV head
    int64_t first_row_ = 0;
    int n_rows_ = 0;
    int64_t kv_head_ = 0;
    float scale_;
    float *queries_ = nullptr;       // [n_queries, dim_k, n_heads]
    float *sums_ = nullptr;          // [dim_v, n_queries, n_heads], of values so far
    float *max_ = nullptr;           // [n_queries, n_heads], of scores so far
    float *total_ = nullptr;         // [n_queries, n_heads], of exponentials so far
    float *keys_ = nullptr;          // [k_key_stride, k_keys_of_tile]
    float *values_ = nullptr;        // [dim_v, k_keys_of_tile]
    float *scores_ = nullptr;        // [n_queries, k_keys_of_tile]
    float *mask_of_tile_ = nullptr;  // the same
};

}  // namespace
}  // namespace orthorank
