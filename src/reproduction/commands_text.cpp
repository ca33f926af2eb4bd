#include "reproduction/commands_text.h"

#include <fmt/format.h>

#include "calibration/selection_files.h"
#include "reproduction/measurements.h"

namespace orthorank {

namespace {

// Makes the texts; paths are those of the run.
class Commands {
 public:
    Commands(const Workshop &workshop, const Needs &needs, const std::string &model_options)
        : workshop_(workshop), needs_(needs), model_(model_options) {}

    std::vector<std::string> made() {
        add_searches();
        add_observations();
        add_quality();
        add_longbench();
        add_speed();
        add_texts();
        return std::move(commands_);
    }

 private:
    std::string path(const std::string &plan) const {
        return fmt::format("{}/plans/{}.json", workshop_.options().folder, plan);
    }

    std::set<std::string> plans_for(Measure measure) const {
        std::set<std::string> plans;
        for (const auto &[of, plan] : needs_.measures) {
            if (of == measure && (plan == "dense" || is_found(plan))) {
                plans.insert(plan);
            }
        }
        return plans;
    }

    bool is_found(const std::string &plan) const {
        return workshop_.findings().of(plan).plan.n_layers() > 0;
    }

    // " --plan A --plan B" for those that are not dense.
    std::string plan_options(const std::set<std::string> &plans) const {
        std::string text;
        for (const std::string &plan : plans) {
            if (plan != "dense") {
                text += " --plan " + path(plan);
            }
        }
        return text;
    }

    static std::string limit(const char *option, int n) {
        return n > 0 ? fmt::format(" {} {}", option, n) : "";
    }

    void add_search(const PlanRecipe &plan) {
        const SearchRecipe &search = workshop_.recipes().search(plan.search);
        const Json calibration = workshop_.sources().calibration.at(search.n_tokens).description;
        std::string text = fmt::format(
            "orthorank select-layers{} --calibration {} --protocol sleb --seqlen {} --windows {} "
            "--method {} --convert {}",
            model_, workshop_.sources().calibration_file, search.n_tokens,
            calibration.at("windows").get<int>(), selection_method_name(search.method),
            search.change.action == Action::skip ? "skip" : "select");
        if (search.change.action == Action::select) {
            text += fmt::format(" --ratio {} --policy {}", search.change.ratio,
                                policy_name(search.change.policy));
        }
        if (search.method == SelectionMethod::sleb) {
            text += workshop_.budget().races ? " --race" : "";
        } else {
            text += workshop_.recipes().is_plus() ? "" : " --no-plus";
        }
        text += fmt::format(" --layers {} -o {}", plan.n_layers, path(plan.name));
        if (!plan.other_policy.empty()) {
            text += fmt::format("   # then \"policy\": \"{}\" in each of its layers",
                                plan.other_policy);
        }
        if (plan.schedule != RatioSchedule::fixed) {
            text += fmt::format("   # then ratios from {} with depth",
                                plan.schedule == RatioSchedule::rising ? "0 to 2/3" : "2/3 to 0");
        }
        commands_.push_back(text);
    }

    void add_searches() {
        std::set<std::string> plans = needs_.plans();
        if (needs_.trace) {
            plans.insert("orthorank-20");
        }
        for (const std::string &plan : plans) {
            if (plan != "dense" && is_found(plan)) {
                add_search(workshop_.recipes().plan(plan));
            }
        }
    }

    void add_observations() {
        const Sources &sources = workshop_.sources();
        if ((needs_.analysis || needs_.sweep) && !sources.wikitext_file.empty()) {
            commands_.push_back(fmt::format(
                "orthorank analyze{} -f {} -o analysis --tokens {}{}", model_,
                sources.wikitext_file, sources.analysis_text.size(),
                needs_.sweep ? fmt::format(" --windows {} --seqlen {}", sources.sweep->size(),
                                           workshop_.budget().sweep_tokens)
                             : " --no-sweep"));
        }
        if (needs_.trace && is_found("orthorank-20")) {
            commands_.push_back(fmt::format(
                "orthorank trace{} -f {} --plan {} --tokens 40   # of the text without line ends",
                model_, sources.wikitext_file, path("orthorank-20")));
        }
    }

    void add_quality() {
        const Budget &budget = workshop_.budget();
        const Sources &sources = workshop_.sources();
        if (needs_.has(Measure::perplexity) && sources.c4) {
            commands_.push_back(fmt::format(
                "orthorank perplexity{} --protocol paper --data {} --ctx {} --windows {}{}", model_,
                sources.data_dir, budget.ppl_tokens, sources.c4->windows.size(),
                plan_options(plans_for(Measure::perplexity))));
        }
        add_eval(Measure::choices, sources.choices, budget.n_documents);
        for (const EvalTask &task : sources.truthful) {
            add_eval(Measure::truthful, {task},
                     task.is_generation() ? budget.n_answers : budget.n_documents);
        }
    }

    void add_eval(Measure measure, const std::vector<EvalTask> &tasks, int n_documents) {
        if (!needs_.has(measure) || tasks.empty()) {
            return;
        }
        std::string names;
        for (const EvalTask &task : tasks) {
            names += (names.empty() ? "" : ",") + task.name;
        }
        commands_.push_back(fmt::format("orthorank eval{} --tasks {} --data {}{}{}", model_, names,
                                        workshop_.sources().data_dir, limit("--limit", n_documents),
                                        plan_options(plans_for(measure))));
    }

    void add_longbench() {
        const Sources &sources = workshop_.sources();
        if (!needs_.has(Measure::longbench) || sources.longbench.empty()) {
            return;
        }
        std::string names;
        for (const LongBenchTask &task : sources.longbench) {
            names += (names.empty() ? "" : ",") + std::string(task.set->name);
        }
        commands_.push_back(fmt::format(
            "orthorank longbench{} --sets {} --data {} --max-length {}{} --output predictions{}",
            model_, names, sources.data_dir, sources.longbench_length,
            limit("--limit", workshop_.budget().n_records),
            plan_options(plans_for(Measure::longbench))));
    }

    void add_speed() {
        const Budget &budget = workshop_.budget();
        for (const std::string &plan : plans_for(Measure::speed)) {
            commands_.push_back(fmt::format(
                "orthorank bench{} --arms dense,{}{} --prefill {} --batch {} --random-tokens "
                "--repetitions {}",
                model_, path(plan),
                workshop_.plan(plan).needs_whole_prompt() ? " --apply prefill" : "",
                budget.speed_tokens, budget.n_speed_sequences, budget.n_speed_repetitions));
        }
    }

    void add_texts() {
        for (const std::string &plan : plans_for(Measure::text)) {
            commands_.push_back(
                fmt::format("orthorank generate{} -p \"{}\" -n {} --temp 0 --no-chat{}", model_,
                            k_text_prompt, workshop_.budget().n_generated, plan_options({plan})));
        }
    }

    using Json = nlohmann::ordered_json;

    const Workshop &workshop_;
    const Needs &needs_;
    std::string model_;
    std::vector<std::string> commands_;
};

}  // namespace

std::vector<std::string> commands_text(const Workshop &workshop, const Needs &needs,
                                       const std::string &model_options) {
    return Commands(workshop, needs, model_options).made();
}

}  // namespace orthorank
