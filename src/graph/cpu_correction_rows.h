// The kernel of cpu_correction() for registers L (cpu_lanes.h). Included by the files of a level
// alone, each of which has its own copy.
#pragma once

#include <algorithm>

#include "graph/cpu_correction_kernel.h"
#include "graph/cpu_lanes.h"

namespace orthorank {
namespace {

template <typename L>
class Corrector {
 public:
    explicit Corrector(const CorrectionTask &task)
        : task_(task), x_(task.scratch), low_(x_ + k_correction_rows * task.n_embd) {}

    void run() {
        for (int64_t first = 0; first < task_.n_ids; first += k_correction_rows) {
            correct(task_.ids + first,
                    static_cast<int>(std::min<int64_t>(k_correction_rows, task_.n_ids - first)));
        }
    }

 private:
    using Vec = typename L::Vec;
    static constexpr int k_vecs = L::n == 16 ? 4 : 2;  // registers of sums of a row

    float *row_of(int32_t id) const {
        return reinterpret_cast<float *>(task_.hidden + static_cast<size_t>(id) * task_.stride);
    }

    // Sums that are not of a row are computed from what the scratch holds, and not used.
    void correct(const int32_t *ids, int n) {
        const int64_t n_embd = task_.n_embd;
        if (task_.n_rank > 0) {
            for (int i = 0; i < n; ++i) {
                normalise(row_of(ids[i]), x_ + i * n_embd);
            }
            std::fill_n(low_, k_correction_rows * task_.n_rank, 0.0f);
            add_product(x_, n_embd, task_.down, task_.n_rank, low_);
        }
        for (int i = 0; i < n; ++i) {
            add_bias(row_of(ids[i]), x_ + i * n_embd);
        }
        if (task_.n_rank > 0) {
            add_product(low_, task_.n_rank, task_.up, n_embd, x_);
        }
        for (int i = 0; i < n; ++i) {
            std::copy_n(x_ + i * n_embd, n_embd, row_of(ids[i]));
        }
    }

    void normalise(const float *h, float *x) const {
        Vec sums = L::set(0.0f);
        for (int64_t k = 0; k < task_.n_embd; k += L::n) {
            const Vec v = L::load(h + k);
            sums = L::fma(v, v, sums);
        }
        float lanes[L::n];
        L::store(lanes, sums);
        double sum = 0;
        for (const float lane : lanes) {
            sum += static_cast<double>(lane);
        }
        const float mean = static_cast<float>(sum / static_cast<double>(task_.n_embd));
        const Vec scale = L::set(1.0f / __builtin_sqrtf(mean + task_.eps));
        for (int64_t k = 0; k < task_.n_embd; k += L::n) {
            L::store(x + k, L::mul(L::mul(L::load(h + k), scale), L::load(task_.norm_weight + k)));
        }
    }

    void add_bias(const float *h, float *x) const {
        for (int64_t k = 0; k < task_.n_embd; k += L::n) {
            L::store(x + k, L::add(L::load(h + k), L::load(task_.bias + k)));
        }
    }

    // out [n_out] += x [n_k] times w, which has n_out numbers for each k; for all rows at once.
    static void add_product(const float *x, int64_t n_k, const float *w, int64_t n_out,
                            float *out) {
        int64_t first = 0;
        for (; first + k_vecs * L::n <= n_out; first += k_vecs * L::n) {
            add_columns<k_vecs>(x, n_k, w + first, n_out, out + first);
        }
        for (; first < n_out; first += L::n) {
            add_columns<1>(x, n_k, w + first, n_out, out + first);
        }
    }

    template <int n_vecs>
    static void add_columns(const float *x, int64_t n_k, const float *w, int64_t n_out,
                            float *out) {
        Vec sums[k_correction_rows][n_vecs];
        for (int i = 0; i < k_correction_rows; ++i) {
            for (int v = 0; v < n_vecs; ++v) {
                sums[i][v] = L::load(out + i * n_out + v * L::n);
            }
        }
        for (int64_t k = 0; k < n_k; ++k) {
            Vec columns[n_vecs];
            for (int v = 0; v < n_vecs; ++v) {
                columns[v] = L::load(w + k * n_out + v * L::n);
            }
            for (int i = 0; i < k_correction_rows; ++i) {
                const Vec value = L::set(x[i * n_k + k]);
                for (int v = 0; v < n_vecs; ++v) {
                    sums[i][v] = L::fma(value, columns[v], sums[i][v]);
                }
            }
        }
        for (int i = 0; i < k_correction_rows; ++i) {
            for (int v = 0; v < n_vecs; ++v) {
                L::store(out + i * n_out + v * L::n, sums[i][v]);
            }
        }
    }

    const CorrectionTask &task_;
    float *x_;    // normalised rows, then the sums
    float *low_;  // rows times down
};

}  // namespace
}  // namespace orthorank
