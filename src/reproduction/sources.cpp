#include "reproduction/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/text_file.h"
#include "eval/records.h"
#include "eval/streams.h"
#include "model/vocab.h"

namespace orthorank {

namespace {

// What a file that is not there, or a model whose context is too short, makes impossible is said;
// other faults end the run.
void if_possible(Sources &sources, const std::string &what, bool may_be_too_long,
                 const std::function<void()> &read) {
    try {
        read();
    } catch (const Error &error) {
        if (error.kind() != ErrorKind::file &&
            !(may_be_too_long && error.kind() == ErrorKind::limit)) {
            throw;
        }
        sources.missing.push_back(fmt::format("{}: {}", what, error.what()));
    }
}

std::optional<size_t> limit_of(int n) {
    return n > 0 ? std::optional<size_t>(static_cast<size_t>(n)) : std::nullopt;
}

void read_calibrations(Sources &sources, const Budget &budget, const Model &model) {
    sources.calibration_file = find_data_file(
        sources.data_dir,
        {"wikitext-2-raw/wiki.train.raw", "wikitext2/wiki.train.raw", "wikitext/wiki.train.raw",
         "wiki.train.raw", "wikitext-2-raw/wiki.train.head.txt"},
        "WikiText-2 raw training split");
    CalibrationOptions options;
    options.files = {sources.calibration_file};
    options.protocol = CalibrationProtocol::sleb;
    for (int length : budget.calibration_lengths) {
        options.seqlen = length;
        options.n_windows = n_search_windows(budget, length);
        sources.calibration[length] = read_calibration(options, model.vocab());
    }
}

void read_c4(Sources &sources, const Budget &budget, const Model &model, int asked_windows) {
    TextArguments arguments;
    arguments.n_ctx = budget.ppl_tokens;
    arguments.n_windows = budget.n_ppl_windows;
    sources.c4 = set_of_stream("c4", c4_stream(sources.data_dir), arguments, model.vocab());
    if (sources.c4->windows.size() < static_cast<size_t>(asked_windows)) {
        fail(ErrorKind::limit,
             "{} has {} windows of {} tokens, {} were asked for: fewer, or a "
             "smaller --ctx",
             sources.c4->files.front(), sources.c4->windows.size(), budget.ppl_tokens,
             asked_windows);
    }
}

// As the paper's Appendix F takes it: without line ends.
void read_analysis_text(Sources &sources, const Budget &budget, const Model &model) {
    std::string text = read_text_file(sources.wikitext_file);
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
    const auto n = static_cast<size_t>(budget.analysis_tokens);
    sources.analysis_text = model.vocab().tokenize_first(n, text, /*add_bos=*/true);
    if (sources.analysis_text.size() < k_min_analysis_tokens) {
        fail(ErrorKind::limit, "{} has {} tokens, the figures of a dense pass need {}",
             sources.wikitext_file, sources.analysis_text.size(), k_min_analysis_tokens);
    }
}

// As `analyze` takes them.
void read_sweep(Sources &sources, const Budget &budget, const Model &model) {
    CalibrationOptions options;
    options.files = {sources.wikitext_file};
    options.seqlen = budget.sweep_tokens;
    options.n_windows = budget.n_sweep_windows;
    sources.sweep = read_calibration(options, model.vocab()).windows;
}

void read_wikitext(Sources &sources, const Budget &budget, const Model &model, const Needs &needs) {
    sources.wikitext_file = wikitext2_stream(sources.data_dir).file;
    const bool fits = budget.analysis_tokens >= static_cast<int>(k_min_analysis_tokens);
    if (!fits) {
        sources.missing.push_back(
            fmt::format("figures of a dense pass: they need {} tokens, the model's context has {}",
                        k_min_analysis_tokens, budget.analysis_tokens));
    }
    if (fits && (needs.analysis || needs.trace)) {
        read_analysis_text(sources, budget, model);
    }
    if (needs.sweep) {
        read_sweep(sources, budget, model);
    }
}

void read_tasks(Sources &sources, const std::vector<std::string> &names, int n_documents,
                const Model &model, std::vector<EvalTask> &tasks) {
    TaskSelection selection;
    selection.data_dir = sources.data_dir;
    selection.limit = limit_of(n_documents);
    for (const std::string &name : names) {
        if_possible(sources, name, true, [&] {
            tasks.push_back(read_eval_task(name, selection, model.vocab(),
                                           static_cast<size_t>(model.hparams().n_ctx_train)));
        });
    }
}

void read_longbench_sets(Sources &sources, const Budget &budget, const Model &model) {
    const int n_ctx = model.hparams().n_ctx_train;
    LongBenchOptions options;
    options.data_dir = sources.data_dir;
    options.max_length = default_max_length(n_ctx);
    if (budget.prompt_tokens > 0) {
        options.max_length =
            std::min(options.max_length, static_cast<size_t>(budget.prompt_tokens));
    }
    sources.longbench_length = options.max_length;
    options.limit = limit_of(budget.n_records);
    std::string missing;
    for (const LongBenchSet &set : longbench_sets()) {
        try {
            sources.longbench.push_back(read_longbench_task(set, options, model.vocab(), n_ctx));
        } catch (const Error &error) {
            if (error.kind() != ErrorKind::file) {
                throw;
            }
            missing += fmt::format("{}{}", missing.empty() ? "" : ", ", set.name);
        }
    }
    if (!missing.empty()) {
        sources.missing.push_back(fmt::format("LongBench: {} has no longbench/NAME.jsonl for {}",
                                              sources.data_dir, missing));
    }
}

// A context in which LongBench has no place is a fact about the model, not a fault.
void read_longbench_if_it_fits(Sources &sources, const Budget &budget, const Model &model) {
    constexpr int k_smallest_context = 2048;
    const int n_ctx = model.hparams().n_ctx_train;
    if (n_ctx < k_smallest_context) {
        sources.missing.push_back(fmt::format(
            "LongBench: the model's context of {} tokens leaves no room for its prompts", n_ctx));
        return;
    }
    read_longbench_sets(sources, budget, model);
}

bool has_searched_plan(const Needs &needs) {
    const std::set<std::string> plans = needs.plans();
    return needs.trace || plans.size() > plans.count("dense");
}

}  // namespace

std::string hash_of(const Windows &windows) {
    Fnv1a hash;
    hash.integer(windows.n_ctx);
    for (int32_t token : windows.tokens) {
        hash.integer(token);
    }
    return hash.hex();
}

Sources read_sources(const std::string &data_dir, const Budget &budget, const Needs &needs,
                     const Model &model, int asked_windows) {
    if (!std::filesystem::is_directory(data_dir)) {
        fail(ErrorKind::file, "--data {}: no such folder", data_dir);
    }
    Sources sources;
    sources.data_dir = data_dir;
    if (has_searched_plan(needs)) {
        if_possible(sources, "calibration text", false,
                    [&] { read_calibrations(sources, budget, model); });
    }
    if (needs.has(Measure::perplexity)) {
        if_possible(sources, "C4", false, [&] { read_c4(sources, budget, model, asked_windows); });
    }
    if (needs.analysis || needs.sweep || needs.trace) {
        if_possible(sources, "WikiText-2", false,
                    [&] { read_wikitext(sources, budget, model, needs); });
    }
    if (needs.has(Measure::choices)) {
        read_tasks(sources, five_task_names(), budget.n_documents, model, sources.choices);
    }
    if (needs.has(Measure::truthful)) {
        read_tasks(sources, {"truthfulqa-mc1"}, budget.n_documents, model, sources.truthful);
        read_tasks(sources, {"truthfulqa-gen"}, budget.n_answers, model, sources.truthful);
    }
    if (needs.has(Measure::longbench)) {
        read_longbench_if_it_fits(sources, budget, model);
    }
    return sources;
}

}  // namespace orthorank
