// The kernel of cpu_row_attention() in registers of L::n floats (cpu_lanes.h). Included by the
// files of a level alone, each of which has its own copy.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "graph/cpu_lanes.h"
#include "graph/cpu_row_attention_kernel.h"

namespace orthorank {
namespace {

template <typename L>
class Part {
 public:
    static constexpr RowAttentionKernel kernel() { return {attend, merge}; }

 private:
    using Vec = typename L::Vec;
    static constexpr int k_heads_at_once = 4;  // that meet a key once it is floats
    static constexpr float k_infinity = std::numeric_limits<float>::infinity();

    struct Scores {
        alignas(64) float of_head[k_heads_at_once][k_keys_of_part];
    };

    static void attend(const RowAttentionTask &task) {
        bool sees_key = false;
        for (int key = 0; key < task.n_keys; ++key) {
            sees_key |= task.mask[key] == 0;
        }
        if (!sees_key) {
            for (int head = 0; head < task.n_heads; ++head) {
                part_of(task, head)[0] = -k_infinity;
            }
            return;
        }
        task.type == GGML_TYPE_F16 ? attend_all<uint16_t>(task) : attend_all<float>(task);
    }

    template <typename T>
    static void attend_all(const RowAttentionTask &task) {
        int head = 0;
        for (; head + k_heads_at_once <= task.n_heads; head += k_heads_at_once) {
            attend<T, k_heads_at_once>(task, head);
        }
        switch (task.n_heads - head) {
            case 1:
                return attend<T, 1>(task, head);
            case 2:
                return attend<T, 2>(task, head);
            case 3:
                return attend<T, 3>(task, head);
            default:
                return;
        }
    }

    static float *part_of(const RowAttentionTask &task, int head) {
        return task.parts + head * (2 + task.dim_v);
    }
    static Vec load(const float *x) { return L::load(x); }
    static Vec load(const uint16_t *x) { return L::load_f16(x); }

    template <typename T, int n_heads>
    static void attend(const RowAttentionTask &task, int first_head) {
        Scores scores;
        for (int key = 0; key < task.n_keys; key += L::n) {
            score<T, n_heads>(task, first_head, key, scores);
        }
        const int n_padded = (task.n_keys + L::n - 1) / L::n * L::n;
        for (int head = 0; head < n_heads; ++head) {
            soften(scores.of_head[head], n_padded, part_of(task, first_head + head));
        }
        constexpr int n_at_once = L::n_values_at_once;
        int64_t d = 0;
        for (; d + n_at_once * L::n <= task.dim_v; d += n_at_once * L::n) {
            add_values<T, n_heads, n_at_once>(task, first_head, d, scores);
        }
        for (; d < task.dim_v; d += L::n) {
            add_values<T, n_heads, 1>(task, first_head, d, scores);
        }
    }

    // Scores of L::n keys from `first` on; -infinity for those that are hidden or not there.
    template <typename T, int n_heads>
    static void score(const RowAttentionTask &task, int first_head, int first, Scores &scores) {
        Vec products[n_heads][L::n];
        const int n = task.n_keys - first < L::n ? task.n_keys - first : L::n;
        for (int i = 0; i < L::n; ++i) {
            const int key = first + (i < n ? i : n - 1);
            const auto *k =
                reinterpret_cast<const T *>(task.keys + static_cast<size_t>(key) * task.key_stride);
            Vec sums[n_heads];
            for (int head = 0; head < n_heads; ++head) {
                sums[head] = L::set(0.0f);
            }
            for (int64_t d = 0; d < task.dim_k; d += L::n) {
                const Vec numbers = load(k + d);
                for (int head = 0; head < n_heads; ++head) {
                    const float *q =
                        task.queries + static_cast<size_t>(first_head + head) * task.query_stride;
                    sums[head] = L::fma(numbers, L::load(q + d), sums[head]);
                }
            }
            for (int head = 0; head < n_heads; ++head) {
                products[head][i] = sums[head];
            }
        }
        alignas(64) float hidden[L::n];
        for (int i = 0; i < L::n; ++i) {
            hidden[i] = i < n && task.mask[first + i] == 0 ? 0.0f : -k_infinity;
        }
        const Vec scale = L::set(task.scale);
        for (int head = 0; head < n_heads; ++head) {
            L::store(scores.of_head[head] + first,
                     L::fma(sums_of_lanes(products[head]), scale, L::load(hidden)));
        }
    }

    // scores -> exp(scores - their maximum); the maximum and the sum to the part.
    static void soften(float *scores, int n_keys, float *part) {
        Vec highest = L::load(scores);
        for (int key = L::n; key < n_keys; key += L::n) {
            highest = L::max(highest, L::load(scores + key));
        }
        alignas(64) float lanes[L::n];
        L::store(lanes, highest);
        part[0] = lanes[0];
        for (int i = 1; i < L::n; ++i) {
            part[0] = lanes[i] > part[0] ? lanes[i] : part[0];
        }
        const Vec subtract = L::set(part[0]);
        Vec sum = L::set(0.0f);
        for (int key = 0; key < n_keys; key += L::n) {
            const Vec x = exponential<L>(L::sub(L::load(scores + key), subtract));
            L::store(scores + key, x);
            sum = L::add(sum, x);
        }
        L::store(lanes, sum);
        part[1] = 0.0f;
        for (float of_lane : lanes) {
            part[1] += of_lane;
        }
    }

    template <typename T, int n_heads, int n_vecs>
    static void add_values(const RowAttentionTask &task, int first_head, int64_t d,
                           const Scores &scores) {
        Vec sums[n_heads][n_vecs];
        for (int head = 0; head < n_heads; ++head) {
            for (int i = 0; i < n_vecs; ++i) {
                sums[head][i] = L::set(0.0f);
            }
        }
        for (int key = 0; key < task.n_keys; ++key) {
            const auto *v = reinterpret_cast<const T *>(task.values + static_cast<size_t>(key) *
                                                                          task.value_stride);
            Vec numbers[n_vecs];
            for (int i = 0; i < n_vecs; ++i) {
                numbers[i] = load(v + d + i * L::n);
            }
            for (int head = 0; head < n_heads; ++head) {
                const Vec by = L::set(scores.of_head[head][key]);
                for (int i = 0; i < n_vecs; ++i) {
                    sums[head][i] = L::fma(numbers[i], by, sums[head][i]);
                }
            }
        }
        for (int head = 0; head < n_heads; ++head) {
            for (int i = 0; i < n_vecs; ++i) {
                L::store(part_of(task, first_head + head) + 2 + d + i * L::n, sums[head][i]);
            }
        }
    }

    static void merge(const float *parts, int64_t n_parts, size_t part_stride, float sink,
                      int64_t dim_v, float *out) {
        float highest = sink;
        for (int64_t i = 0; i < n_parts; ++i) {
            const float of_part = parts[static_cast<size_t>(i) * part_stride];
            // Not a number is kept: what is not above anything is not below it either.
            highest = of_part <= highest ? highest : of_part;
        }
        std::memset(out, 0, static_cast<size_t>(dim_v) * sizeof(float));
        float total = sink == -k_infinity ? 0.0f : std::exp(sink - highest);
        for (int64_t i = 0; i < n_parts; ++i) {
            const float *part = parts + static_cast<size_t>(i) * part_stride;
            if (part[0] == -k_infinity) {
                continue;
            }
            const float by = std::exp(part[0] - highest);
            total += by * part[1];
            for (int64_t d = 0; d < dim_v; d += L::n) {
                L::store(out + d, L::fma(L::load(part + 2 + d), L::set(by), L::load(out + d)));
            }
        }
        const Vec by = L::set(total == 0.0f ? 0.0f : 1.0f / total);
        for (int64_t d = 0; d < dim_v; d += L::n) {
            L::store(out + d, L::mul(L::load(out + d), by));
        }
    }
};

}  // namespace
}  // namespace orthorank
