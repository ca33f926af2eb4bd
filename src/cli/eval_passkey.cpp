#include "cli/eval_passkey.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/console.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "eval/streams.h"
#include "evaluation/windows.h"
#include "model/vocab.h"
#include "report/comparison_table.h"
#include "report/numbers_text.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

std::string percent(const Estimate &estimate) {
    return with_error(100.0 * estimate.mean, 100.0 * estimate.standard_error, 1);
}

Json result_json(const PasskeyResult &result, const PasskeyArguments &arguments, const Plan &plan,
                 bool has_dense) {
    Json json;
    json["task"] = k_passkey;
    json["plan"] = plan_name_json(plan);
    json["effective_sparsity"] = plan.effective_sparsity();
    json["length"] = result.length;
    json["n_docs"] = result.values.size();
    json["metric"] = "exact_match";
    json["value"] = result.value.mean;
    json["se"] = result.value.standard_error;
    json["difference"] = nullptr;
    json["difference_se"] = nullptr;
    if (has_dense && result.plan > 0) {
        json["difference"] = result.difference.mean;
        json["difference_se"] = result.difference.standard_error;
    }
    json["depths"] = Json::array();
    for (size_t d = 0; d < result.by_depth.size(); ++d) {
        json["depths"].push_back(
            {{"depth", arguments.depths[d] / 100.0}, {"value", result.by_depth[d].mean}});
    }
    return json;
}

void print_results(std::span<const PasskeyResult> results, const PasskeyArguments &arguments,
                   std::span<const Plan> plans, bool has_dense) {
    ComparisonTable table;
    table.header = {"tokens", "plan", "sparsity", "found"};
    if (has_dense) {
        table.header.push_back("- dense");
    }
    for (const int depth : arguments.depths) {
        table.header.push_back(fmt::format("at {}%", depth));
    }
    for (const PasskeyResult &result : results) {
        const Plan &plan = plans[result.plan];
        std::vector<std::string> row = {std::to_string(result.length), plan.name,
                                        fmt::format("{:.1f}%", 100.0 * plan.effective_sparsity()),
                                        percent(result.value)};
        if (has_dense) {
            row.push_back(result.plan > 0 ? percent(result.difference) : "");
        }
        for (const Estimate &estimate : result.by_depth) {
            row.push_back(fmt::format("{:.0f}", 100.0 * estimate.mean));
        }
        table.rows.push_back(std::move(row));
    }
    print("pass keys found, per cent of {} prompts of each length and depth\n{}", arguments.n_each,
          plain_text(table));
}

}  // namespace

void add_passkey_options(CLI::App &command, PasskeyArguments &a) {
    command
        .add_option("--text", a.text,
                    "passkey: the text that the prompts are filled with, raw or JSON Lines")
        ->type_name("FILE");
    command.add_option("--field", a.field, "passkey: the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--lengths", a.lengths, "passkey: tokens of a prompt")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("LIST");
    command
        .add_option("--depths", a.depths,
                    "passkey: where the number stands, per cent of the text before it")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::Range(0, 100))
        ->type_name("LIST");
    command.add_option("--count", a.n_each, "passkey: prompts of each length and depth")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20))
        ->type_name("N");
    command.add_option("--seed", a.seed, "passkey: another seed, other numbers")
        ->capture_default_str()
        ->type_name("N");
}

void run_passkey_task(const PasskeyArguments &arguments, const ModelArguments &model_arguments,
                      const Model &model, std::span<const Plan> plans, bool has_dense,
                      const std::string &json_path, const Argv &argv) {
    const std::vector<int32_t> text =
        model.vocab().tokenize(read_text(arguments.text, arguments.field), false);
    PasskeyOptions options;
    options.lengths = arguments.lengths;
    options.depths.clear();
    for (const int depth : arguments.depths) {
        options.depths.push_back(depth / 100.0);
    }
    options.n_each = arguments.n_each;
    options.seed = arguments.seed;
    Progress progress(k_passkey, stderr, is_dumb_terminal());
    progress.update(0.0);
    catch_interrupts();
    options.on_progress = [&](size_t n_done, size_t n_all) {
        stop_if_interrupted();
        progress.update(static_cast<double>(n_done) / static_cast<double>(n_all));
    };
    const int longest = *std::max_element(arguments.lengths.begin(), arguments.lengths.end());
    const std::unique_ptr<Engine> engine =
        make_engine(model, model_arguments, longest + k_passkey_answer);
    const std::vector<PasskeyResult> results = run_passkey(*engine, text, plans, options);
    progress.finish();
    Json json = result_frame(argv, model, engine.get());
    json["results"] = Json::array();
    for (const PasskeyResult &result : results) {
        json["results"].push_back(result_json(result, arguments, plans[result.plan], has_dense));
    }
    write_json(json_path, json);
    if (prints_text(json_path)) {
        print_results(results, arguments, plans, has_dense);
    }
}

}  // namespace orthorank
