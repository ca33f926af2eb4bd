#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/progress.h"
#include "cli/shared_options.h"
#include "model/vocab.h"
#include "tasks/perplexity.h"

namespace orthorank {

namespace {

struct PerplexityArguments {
    ModelArguments model;
    std::vector<std::string> files;
    std::string field = "text";
    std::vector<std::string> plans;
    bool no_dense = false;
    int n_ctx = 2048;
    int n_windows = 0;
    std::string json;
};

std::vector<Plan> plans_of(const PerplexityArguments &arguments, const Model &model) {
    std::vector<Plan> plans;
    if (!arguments.no_dense) {
        plans.push_back(dense_plan(model.hparams().n_layers));
    }
    for (const std::string &path : arguments.plans) {
        plans.push_back(read_plan_for(model, path));
    }
    // Two files of one name in different folders: the paths tell them apart.
    const size_t n_dense = plans.size() - arguments.plans.size();
    std::vector<std::string> names(plans.size());
    std::transform(plans.begin(), plans.end(), names.begin(),
                   [](const Plan &plan) { return plan.name; });
    for (size_t i = n_dense; i < plans.size(); ++i) {
        if (std::count(names.begin(), names.end(), names[i]) > 1) {
            plans[i].name = arguments.plans[i - n_dense];
        }
    }
    return plans;
}

Windows windows_of(const PerplexityArguments &arguments, const Vocab &vocab) {
    Windows windows;
    windows.n_ctx = arguments.n_ctx;
    size_t n_longest = 0;
    for (const std::string &file : arguments.files) {
        const std::vector<int32_t> tokens =
            vocab.tokenize(read_stream(file, arguments.field), /*add_special=*/true);
        add_windows(windows, tokens, static_cast<size_t>(arguments.n_windows));
        n_longest = std::max(n_longest, tokens.size());
    }
    if (windows.size() == 0) {
        fail(ErrorKind::limit,
             "no window of {} tokens: {} has only {} tokens; give more text or a smaller --ctx",
             arguments.n_ctx,
             arguments.files.size() == 1 ? arguments.files.front() : "the longest file", n_longest);
    }
    return windows;
}

nlohmann::ordered_json result_json(const PerplexityResult &result, size_t n_windows,
                                   bool has_dense) {
    nlohmann::ordered_json json;
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
    json["n_windows"] = n_windows;
    json["n_targets"] = result.n_targets;
    json["effective_sparsity"] = result.plan.effective_sparsity();
    json["fraction_of_rows_computed"] = nullptr;
    if (result.n_rows_offered > 0) {
        json["fraction_of_rows_computed"] = static_cast<double>(result.n_rows_computed) /
                                            static_cast<double>(result.n_rows_offered);
    }
    json["seconds"] = result.seconds;
    json["window_nlls"] = result.window_nlls;
    return json;
}

std::string with_error(double value, double error, int n_digits) {
    return std::isfinite(error) ? fmt::format("{:.{}f} ± {:.{}f}", value, n_digits, error, n_digits)
                                : fmt::format("{:.{}f}", value, n_digits);
}

// fmt counts characters: columns stay straight with the sign in them.
void print_table(std::span<const PerplexityResult> results, bool has_dense) {
    size_t width = 4;
    for (const PerplexityResult &result : results) {
        width = std::max(width, result.plan.name.size());
    }
    fmt::print("{:<{}}  sparsity  {:>16}  {:>16}  {:>9}\n", "plan", width, "perplexity",
               has_dense ? "ratio to dense" : "", "seconds");
    for (const PerplexityResult &result : results) {
        const std::string ratio = !has_dense ? ""
                                  : &result == &results.front()
                                      ? "1"
                                      : with_error(result.ratio, result.ratio_se, 3);
        fmt::print("{:<{}}  {:>7.1f}%  {:>16}  {:>16}  {:>9.1f}\n", result.plan.name, width,
                   100.0 * result.plan.effective_sparsity(), with_error(result.ppl, result.se, 2),
                   ratio, result.seconds);
    }
}

void run_perplexity(const PerplexityArguments &arguments, const Argv &argv) {
    if (arguments.no_dense && arguments.plans.empty()) {
        fail(ErrorKind::usage, "--no-dense leaves nothing to run: name a --plan");
    }
    check_json_path(arguments.json);
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const std::vector<Plan> plans = plans_of(arguments, *model);
    const Windows windows = windows_of(arguments, model->vocab());
    const std::unique_ptr<Engine> engine = make_engine(*model, arguments.model, arguments.n_ctx);
    Progress progress("perplexity");
    progress.update(0.0);
    const std::vector<PerplexityResult> results = perplexity(
        *engine, windows, plans,
        [&](size_t n_done, size_t n_all, std::span<const PerplexityResult> so_far) {
            std::string text;
            for (const PerplexityResult &result : so_far) {
                if (!result.window_nlls.empty()) {
                    text += fmt::format("{}{:.2f}", text.empty() ? "" : " ", result.ppl);
                }
            }
            progress.update(static_cast<double>(n_done) / static_cast<double>(n_all), text);
        });
    progress.finish();
    nlohmann::ordered_json json = result_frame(argv, *model, engine.get(), arguments.model);
    json["files"] = arguments.files;
    json["results"] = nlohmann::ordered_json::array();
    for (const PerplexityResult &result : results) {
        json["results"].push_back(result_json(result, windows.size(), !arguments.no_dense));
    }
    if (prints_text(arguments.json)) {
        fmt::print("{} windows of {} tokens\n", windows.size(), windows.n_ctx);
        print_table(results, !arguments.no_dense);
    }
    write_json(arguments.json, json);
}

}  // namespace

void add_perplexity(CLI::App &app, const Argv &argv) {
    CLI::App &command =
        *app.add_subcommand("perplexity", "perplexity of plans beside the dense model");
    const auto arguments = std::make_shared<PerplexityArguments>();
    PerplexityArguments &a = *arguments;
    command.add_option("-f,--file", a.files, "texts: raw, or JSON Lines (*.jsonl, *.json)")
        ->required()
        ->type_name("FILE");
    command.add_option("--field", a.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--plan", a.plans, "plan file to compare; may be given several times")
        ->type_name("FILE");
    add_sparsity_option(command, a.plans);
    command.add_flag("--no-dense", a.no_dense, "leave out the dense model");
    command.add_option("--ctx", a.n_ctx, "tokens in a window")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 30))
        ->type_name("N");
    command.add_option("--windows", a.n_windows, "the first N windows of each file (default: all)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &argv] { run_perplexity(*arguments, argv); });
}

}  // namespace orthorank
