#include "reproduction/budget.h"

#include <algorithm>

#include "base/error.h"

namespace orthorank {

namespace {

Budget quick() {
    Budget budget;
    budget.name = "quick";
    budget.search_tokens = 512;
    budget.n_search_windows = 1;
    budget.races = true;
    budget.calibration_lengths = {512, 1024, 1536};
    budget.ppl_tokens = 1024;
    budget.n_ppl_windows = 8;
    budget.n_documents = 25;
    budget.n_answers = 12;
    budget.n_records = 2;
    budget.prompt_tokens = 1000;
    budget.sweep_tokens = 512;
    budget.n_sweep_windows = 3;
    budget.speed_tokens = 1024;
    budget.n_speed_sequences = 1;
    budget.n_speed_repetitions = 5;
    budget.n_generated = 64;
    budget.n_tradeoff_plans = 5;
    return budget;
}

Budget standard() {
    Budget budget;
    budget.name = "standard";
    budget.n_search_windows = 2;
    budget.races = true;
    budget.n_ppl_windows = 32;
    budget.n_documents = 200;
    budget.n_answers = 100;
    budget.n_records = 20;
    budget.n_sweep_windows = 4;
    budget.n_speed_sequences = 4;
    budget.n_speed_repetitions = 10;
    budget.n_tradeoff_plans = 8;
    return budget;
}

}  // namespace

Budget budget_from_name(const std::string &name) {
    if (name == "quick") {
        return quick();
    }
    if (name == "standard") {
        return standard();
    }
    if (name == "paper") {
        Budget budget;
        budget.name = name;
        return budget;
    }
    fail(ErrorKind::usage, "unknown budget '{}' (known: quick, standard, paper)", name);
}

Budget with_tokens(Budget budget, int n_tokens) {
    budget.search_tokens = budget.ppl_tokens = budget.sweep_tokens = budget.speed_tokens = n_tokens;
    budget.calibration_lengths = {n_tokens, 2 * n_tokens, 4 * n_tokens};
    return budget;
}

Budget fitted_to(Budget budget, const Hparams &hparams) {
    const int n_ctx = hparams.n_ctx_train;
    for (int *n : {&budget.search_tokens, &budget.ppl_tokens, &budget.sweep_tokens,
                   &budget.analysis_tokens, &budget.speed_tokens}) {
        *n = std::min(*n, n_ctx);
    }
    std::vector<int> lengths = {budget.search_tokens};
    for (int length : budget.calibration_lengths) {
        if (length > lengths.back() && length <= n_ctx) {
            lengths.push_back(length);
        }
    }
    budget.calibration_lengths = lengths;
    return budget;
}

int n_search_windows(const Budget &budget, int n_tokens) {
    return budget.n_search_windows == 0
               ? 0
               : std::max(1, budget.n_search_windows * budget.search_tokens / n_tokens);
}

nlohmann::ordered_json budget_json(const Budget &budget) {
    return {{"name", budget.name},
            {"search_tokens", budget.search_tokens},
            {"search_windows", budget.n_search_windows},
            {"race", budget.races},
            {"calibration_lengths", budget.calibration_lengths},
            {"perplexity_tokens", budget.ppl_tokens},
            {"perplexity_windows", budget.n_ppl_windows},
            {"documents", budget.n_documents},
            {"answers", budget.n_answers},
            {"records", budget.n_records},
            {"prompt_tokens", budget.prompt_tokens},
            {"sweep_tokens", budget.sweep_tokens},
            {"sweep_windows", budget.n_sweep_windows},
            {"analysis_tokens", budget.analysis_tokens},
            {"speed_tokens", budget.speed_tokens},
            {"speed_sequences", budget.n_speed_sequences},
            {"speed_repetitions", budget.n_speed_repetitions},
            {"generated_tokens", budget.n_generated},
            {"trade_off_plans", budget.n_tradeoff_plans}};
}

}  // namespace orthorank
