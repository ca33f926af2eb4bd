#include "evaluation/divergence.h"

#include <algorithm>
#include <new>

#include "base/error.h"
#include "base/statistics.h"
#include "session/log_probs.h"

namespace orthorank {

DivergenceMeter::DivergenceMeter(size_t first_row, size_t n_rows, int n_vocab, size_t n_plans,
                                 int n_threads)
    : first_row_(first_row),
      n_rows_(n_rows),
      n_vocab_(static_cast<size_t>(n_vocab)),
      n_threads_(n_threads),
      plans_(n_plans) {
    try {
        base_.resize(n_rows_ * n_vocab_);
    } catch (const std::bad_alloc &) {
        fail(ErrorKind::limit, "no memory for the dense logits of {} tokens: use a smaller --ctx",
             n_rows);
    }
}

void DivergenceMeter::add(size_t plan, const LogitsBlock &block) {
    CHECK(static_cast<size_t>(block.n_vocab) == n_vocab_);
    // The block's rows that count, numbered as those of base_.
    const auto block_first = static_cast<size_t>(block.first_row);
    const size_t begin = std::max(block_first, first_row_);
    const size_t end =
        std::min(block_first + static_cast<size_t>(block.n_rows), first_row_ + n_rows_);
    if (begin >= end) {
        return;
    }
    const size_t first = begin - first_row_;
    const size_t n_counted = end - begin;
    const float *logits = block.logits + (begin - block_first) * n_vocab_;
    if (plan == 0) {
        std::copy_n(logits, n_counted * n_vocab_,
                    base_.begin() + static_cast<std::ptrdiff_t>(first * n_vocab_));
    }
    std::vector<double> divergences(n_counted, 0.0);
    std::vector<char> is_same_top(n_counted, 1);
    const auto n = static_cast<std::ptrdiff_t>(plan == 0 ? 0 : n_counted);
#pragma omp parallel for num_threads(n_threads_) schedule(static)
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const auto row = static_cast<size_t>(i);
        const std::span<const float> p =
            std::span(base_).subspan((first + row) * n_vocab_, n_vocab_);
        const std::span<const float> q(logits + row * n_vocab_, n_vocab_);
        divergences[row] = kl_divergence(p, q);
        is_same_top[row] = argmax(p) == argmax(q) ? 1 : 0;
    }
    Rows &rows = plans_[plan];
    rows.divergences.insert(rows.divergences.end(), divergences.begin(), divergences.end());
    rows.n_same_top +=
        static_cast<size_t>(std::count(is_same_top.begin(), is_same_top.end(), char{1}));
}

Divergence DivergenceMeter::result(size_t plan) const {
    const std::vector<double> &values = plans_[plan].divergences;
    Divergence result;
    result.n_rows = values.size();
    result.mean = mean(values);
    std::vector<double> window_means;
    for (size_t first = 0; first + n_rows_ <= values.size(); first += n_rows_) {
        window_means.push_back(mean(std::span(values).subspan(first, n_rows_)));
    }
    result.se = standard_error(window_means);
    result.median = quantile(values, 0.5);
    result.p90 = quantile(values, 0.9);
    result.p95 = quantile(values, 0.95);
    result.p99 = quantile(values, 0.99);
    result.max = quantile(values, 1.0);
    result.same_top =
        static_cast<double>(plans_[plan].n_same_top) / static_cast<double>(values.size());
    return result;
}

}  // namespace orthorank
