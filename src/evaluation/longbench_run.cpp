#include "evaluation/longbench_run.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/utf8.h"
#include "evaluation/line_log.h"
#include "session/answers.h"

namespace orthorank {

namespace {

PromptTokenizer tokenizer_of(const Vocab &vocab, bool cleans_spaces) {
    PromptTokenizer tokenizer;
    tokenizer.encode = [&vocab](const std::string &text) {
        return vocab.tokenize(text, /*add_bos=*/true);
    };
    tokenizer.decode = [&vocab](const std::vector<int32_t> &ids) { return vocab.detokenize(ids); };
    tokenizer.cleans_spaces = cleans_spaces;
    return tokenizer;
}

// One set under one plan: what was there, and where more goes.
struct Arm {
    std::vector<Prediction> predictions;
    std::unique_ptr<LineLog> log;
};

Arm open_arm(const LongBenchTask &task, const Plan &plan, const LongBenchRun &run) {
    const std::string path = prediction_path(run.output_dir, plan, *task.set);
    make_prediction_folder(run.output_dir, plan);
    nlohmann::ordered_json made_by = run.run;
    made_by["plan"] = plan_identity(plan);
    made_by["data"] = task.data.hash;
    auto log = std::make_unique<LineLog>(path, made_by);
    std::vector<Prediction> predictions = predictions_in(log->lines(), path);
    log->start();
    return {std::move(predictions), std::move(log)};
}

std::filesystem::path folder_of(const std::string &output_dir, const Plan &plan) {
    std::string name =
        plan.name.ends_with(".json") ? plan.name.substr(0, plan.name.size() - 5) : plan.name;
    std::replace(name.begin(), name.end(), '/', '_');
    return std::filesystem::path(output_dir) / name;
}

Prediction predict(Engine &engine, const LongBenchTask &task, size_t i, const Plan &plan,
                   bool cleans_spaces) {
    AnswerOptions options;
    options.plan = plan;
    options.max_new_tokens = task.set->max_new_tokens;
    if (task.set->stops_at_newline) {
        options.stop_token = engine.model().vocab().tokenize("\n", /*add_bos=*/false).back();
    }
    const std::vector<Answer> answers =
        greedy_answers(engine, std::span(task.prompts).subspan(i, 1), options);
    const std::string text = replace_invalid_utf8(answers.front().text);
    return make_prediction(task.data.records[i], cleans_spaces ? clean_up_spaces(text) : text);
}

}  // namespace

size_t default_max_length(int n_ctx) {
    const int length = n_ctx / 1024 * 1000 - 500;
    if (length < 2) {
        fail(ErrorKind::usage,
             "a context of {} tokens is too small for LongBench: give --max-length", n_ctx);
    }
    return static_cast<size_t>(length);
}

LongBenchTask read_longbench_task(const LongBenchSet &set, const LongBenchOptions &options,
                                  const Vocab &vocab, int n_ctx) {
    LongBenchTask task;
    task.set = &set;
    task.data = read_longbench(set, options.data_dir);
    if (options.limit && *options.limit < task.data.records.size()) {
        task.data.records.resize(*options.limit);
        task.data.is_complete = false;
    }
    const PromptTokenizer tokenizer = tokenizer_of(vocab, options.cleans_spaces);
    for (const LongBenchRecord &record : task.data.records) {
        const std::string place =
            fmt::format("{}: record {} (from 0)", task.data.file, record.index);
        TruncatedPrompt prompt = at_place(place, [&] {
            return truncate_middle(fill_prompt(set, record), options.max_length, tokenizer);
        });
        task.n_cut += prompt.is_cut ? 1 : 0;
        if (prompt.ids.size() + set.max_new_tokens > static_cast<size_t>(n_ctx)) {
            fail(ErrorKind::limit,
                 "{}: record {} has {} tokens and {} are to be generated, the context has only {}: "
                 "give a smaller --max-length",
                 set.name, record.index, prompt.ids.size(), set.max_new_tokens, n_ctx);
        }
        task.prompts.push_back(std::move(prompt.ids));
    }
    return task;
}

int longbench_context(std::span<const LongBenchTask> tasks) {
    size_t n_ctx = 1;
    for (const LongBenchTask &task : tasks) {
        for (const std::vector<int32_t> &prompt : task.prompts) {
            n_ctx = std::max(n_ctx, prompt.size() + task.set->max_new_tokens);
        }
    }
    return static_cast<int>(n_ctx);
}

std::string prediction_path(const std::string &output_dir, const Plan &plan,
                            const LongBenchSet &set) {
    return (folder_of(output_dir, plan) / fmt::format("{}.jsonl", set.name)).string();
}

void make_prediction_folder(const std::string &output_dir, const Plan &plan) {
    const std::filesystem::path folder = folder_of(output_dir, plan);
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) {
        fail(ErrorKind::file, "{}: cannot be made: {}", folder.string(), error.message());
    }
}

std::vector<std::vector<Prediction>> run_longbench(Engine &engine,
                                                   std::span<const LongBenchTask> tasks,
                                                   std::span<const Plan> plans,
                                                   const LongBenchRun &run) {
    std::vector<Arm> arms;
    size_t n_all = 0;
    for (const LongBenchTask &task : tasks) {
        for (const Plan &plan : plans) {
            arms.push_back(open_arm(task, plan, run));
            n_all += task.prompts.size();
        }
    }
    size_t n_done = 0;
    for (size_t t = 0; t < tasks.size(); ++t) {
        for (size_t i = 0; i < tasks[t].prompts.size(); ++i) {
            for (size_t p = 0; p < plans.size(); ++p) {
                Arm &arm = arms[t * plans.size() + p];
                if (arm.predictions.size() <= i) {
                    arm.predictions.push_back(
                        predict(engine, tasks[t], i, plans[p], run.cleans_spaces));
                    arm.log->append(prediction_line(arm.predictions.back()));
                }
                if (run.on_progress) {
                    run.on_progress(++n_done, n_all, tasks[t].set->name);
                }
            }
        }
    }
    std::vector<std::vector<Prediction>> predictions;
    for (size_t a = 0; a < arms.size(); ++a) {
        predictions.push_back(std::move(arms[a].predictions));
        const size_t n = tasks[a / plans.size()].prompts.size();
        if (predictions.back().size() > n) {
            predictions.back().resize(n);  // of an earlier run with more records
        }
    }
    return predictions;
}

}  // namespace orthorank
