#include "evaluation/divergence.h"

#include <algorithm>
#include <new>

#include "base/error.h"
#include "base/statistics.h"
#include "session/log_probs.h"

namespace orthorank {

DivergenceMeter::DivergenceMeter(size_t n_ctx, int n_vocab, size_t n_plans, int n_threads)
    : n_ctx_(n_ctx),
      n_vocab_(static_cast<size_t>(n_vocab)),
      n_threads_(n_threads),
      plans_(n_plans) {
    try {
        base_.resize(n_ctx_ * n_vocab_);
    } catch (const std::bad_alloc &) {
        fail(ErrorKind::limit, "no memory for the dense logits of {} tokens: use a smaller --ctx",
             n_ctx);
    }
}

void DivergenceMeter::add(size_t plan, const LogitsBlock &block) {
    const auto first = static_cast<size_t>(block.first_row);
    const auto n_rows = static_cast<size_t>(block.n_rows);
    CHECK(static_cast<size_t>(block.n_vocab) == n_vocab_ && first + n_rows <= n_ctx_);
    if (plan == 0) {
        std::copy_n(block.logits, n_rows * n_vocab_,
                    base_.begin() + static_cast<std::ptrdiff_t>(first * n_vocab_));
    }
    const size_t n_counted = std::min(first + n_rows, n_ctx_ - 1) - std::min(first, n_ctx_ - 1);
    std::vector<double> divergences(n_counted, 0.0);
    std::vector<char> is_same_top(n_counted, 1);
    const auto n = static_cast<std::ptrdiff_t>(plan == 0 ? 0 : n_counted);
#pragma omp parallel for num_threads(n_threads_) schedule(static)
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const auto row = static_cast<size_t>(i);
        const std::span<const float> p =
            std::span(base_).subspan((first + row) * n_vocab_, n_vocab_);
        const std::span<const float> q(block.logits + row * n_vocab_, n_vocab_);
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
    for (size_t first = 0; first + n_ctx_ - 1 <= values.size(); first += n_ctx_ - 1) {
        window_means.push_back(mean(std::span(values).subspan(first, n_ctx_ - 1)));
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
