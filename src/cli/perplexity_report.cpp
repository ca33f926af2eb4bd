#include "cli/perplexity_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/console.h"
#include "report/comparison_table.h"
#include "report/numbers_text.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

nlohmann::ordered_json divergence_json(const Divergence &divergence) {
    return {{"mean", divergence.mean},     {"se", divergence.se},
            {"median", divergence.median}, {"p90", divergence.p90},
            {"p95", divergence.p95},       {"p99", divergence.p99},
            {"max", divergence.max},       {"same_top", divergence.same_top},
            {"n_rows", divergence.n_rows}};
}

// fmt counts characters: columns stay straight with the sign in them.
void print_table(std::span<const PerplexityResult> results, bool has_dense) {
    size_t width = 4;
    for (const PerplexityResult &result : results) {
        width = std::max(width, result.plan.name.size());
    }
    print("{:<{}}  sparsity  {:>16}  {:>16}  {:>9}\n", "plan", width, "perplexity",
          has_dense ? "ratio to dense" : "", "seconds");
    for (const PerplexityResult &result : results) {
        const std::string ratio = !has_dense ? ""
                                  : &result == &results.front()
                                      ? "1"
                                      : with_error(result.ratio, result.ratio_se, 3);
        print("{:<{}}  {:>7.1f}%  {:>16}  {:>16}  {:>9.1f}\n", result.plan.name, width,
              100.0 * result.plan.effective_sparsity(), with_error(result.ppl, result.se, 2), ratio,
              result.seconds);
    }
}

void print_divergences(std::span<const PerplexityResult> results) {
    ComparisonTable table;
    table.header = {
        "KL divergence from dense", "mean", "median", "90%", "95%", "99%", "max", "same top token"};
    for (const PerplexityResult &result : results.subspan(1)) {
        const Divergence &kl = *result.divergence;
        table.rows.push_back({result.plan.name, with_error(kl.mean, kl.se, 4),
                              fmt::format("{:.4f}", kl.median), fmt::format("{:.4f}", kl.p90),
                              fmt::format("{:.4f}", kl.p95), fmt::format("{:.4f}", kl.p99),
                              fmt::format("{:.4f}", kl.max),
                              fmt::format("{:.2f}%", 100.0 * kl.same_top)});
    }
    print_text(plain_text(table));
}

void print_set(const TextSet &set) {
    if (set.name.empty()) {
        const std::string scored =
            set.windows.n_continuation > 0
                ? fmt::format(", the last {} of each scored", set.windows.n_continuation)
                : "";
        const std::string bos = set.bos == "first"  ? "; BOS begins only the first of a text"
                                : set.bos == "each" ? "; BOS begins each"
                                                    : "";
        print("{} windows of {} tokens{}{}\n", set.windows.size(), set.windows.n_ctx, scored, bos);
        return;
    }
    const std::string of =
        set.n_wanted > set.n_documents ? fmt::format(" of {}", set.n_wanted) : "";
    print("{}: {}{} documents, {} tokens, {} windows of {} tokens\n", set.name, set.n_documents, of,
          set.n_tokens, set.windows.size(), set.windows.n_ctx);
}

}  // namespace

nlohmann::ordered_json result_json(const PerplexityResult &result, const TextSet &set,
                                   bool has_dense) {
    nlohmann::ordered_json json;
    if (!set.name.empty()) {
        json["set"] = set.name;
    }
    json["plan"] = plan_name_json(result.plan);
    json["ppl"] = result.ppl;
    json["nll"] = result.nll;
    json["se"] = result.se;
    json["ratio_to_dense"] = nullptr;
    json["ratio_se"] = nullptr;
    if (has_dense) {
        json["ratio_to_dense"] = result.ratio;
        json["ratio_se"] = result.ratio_se;
    }
    json["n_windows"] = set.windows.size();
    json["n_continuation"] = set.windows.n_continuation;
    json["keep_last"] = result.plan.keep_last;
    json["bos"] = set.bos;
    json["n_targets"] = result.n_targets;
    json["effective_sparsity"] = result.plan.effective_sparsity();
    json["fraction_of_rows_computed"] = nullptr;
    if (result.n_rows_offered > 0) {
        json["fraction_of_rows_computed"] = static_cast<double>(result.n_rows_computed) /
                                            static_cast<double>(result.n_rows_offered);
    }
    json["seconds"] = result.seconds;
    if (result.divergence) {
        json["kl"] = divergence_json(*result.divergence);
    }
    json["window_nlls"] = result.window_nlls;
    return json;
}

nlohmann::ordered_json sets_json(std::span<const TextSet> sets) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const TextSet &set : sets) {
        json.push_back({{"set", set.name},
                        {"file", set.files.front()},
                        {"n_documents", set.n_documents},
                        {"n_tokens", set.n_tokens},
                        {"n_windows", set.windows.size()}});
    }
    return json;
}

void print_results(std::span<const PerplexityResult> results, const TextSet &set, bool has_dense) {
    print_set(set);
    print_table(results, has_dense);
    if (results.back().divergence) {
        print_divergences(results);
    }
}

}  // namespace orthorank
