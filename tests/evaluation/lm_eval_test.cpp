// Against lm-evaluation-harness itself on the default model: the ids it scores, and what it says of
// them (tools/reference/lm_eval_reference.py made the fixtures; no Python here).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "eval/bleu.h"
#include "eval/scoring.h"
#include "evaluation/evaluate.h"
#include "session/answers.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

using nlohmann::json;

constexpr int k_max_length = 8192;
// Documents of each task that are run: F32 takes its time, and TruthfulQA's prompts are long.
constexpr size_t k_n_computed = 10;
constexpr size_t k_n_truthfulqa = 2;
constexpr double k_tolerance = 1e-2;  // of a log-likelihood

// Empty if the test can run.
std::string reason_to_skip() {
    if (!has_default_model()) {
        return "no default model at " + default_model_path();
    }
    return shared_path("data/piqa/valid.jsonl").empty() ? "no shared/data beside the checkout" : "";
}

json fixture_of(const std::string &task) {
    return json::parse(read_bytes(fixture_path("eval/lm-eval-" + task + ".json")));
}

EvalTask read_task(const std::string &name, const Vocab &vocab, size_t limit) {
    TaskSelection selection;
    selection.data_dir = std::filesystem::path(shared_path("data/piqa/valid.jsonl"))
                             .parent_path()
                             .parent_path()
                             .string();
    selection.limit = limit;
    return read_eval_task(name, selection, vocab, k_max_length);
}

// The tasks of choices that there are fixtures of.
std::vector<std::string> choice_tasks() {
    std::vector<std::string> names = five_task_names();
    names.insert(names.end(), {"truthfulqa-mc1", "truthfulqa-mc2"});
    return names;
}

size_t best(const std::vector<double> &values) {
    return argmax(std::span<const double>(values));
}

TEST(LmEval, ScoresTheSameIds) {
    if (!reason_to_skip().empty()) {
        GTEST_SKIP() << reason_to_skip();
    }
    const auto vocab = Vocab::load(default_model_path());
    for (const std::string &name : choice_tasks()) {
        const json docs = fixture_of(name)["docs"];
        const EvalTask task = read_task(name, *vocab, docs.size());
        ASSERT_EQ(task.size(), docs.size());
        for (size_t i = 0; i < docs.size(); ++i) {
            SCOPED_TRACE(name + " " + std::to_string(i));
            ASSERT_EQ(task.inputs[i].size(), docs[i]["targets"].size());
            for (size_t c = 0; c < task.inputs[i].size(); ++c) {
                EXPECT_EQ(json(task.inputs[i][c].targets), docs[i]["targets"][c]) << c;
                EXPECT_EQ(task.inputs[i][c].first_row() + 1, docs[i]["n_context"][c]) << c;
            }
        }
    }
}

// The fixtures' weights are the default model's in F32.
std::unique_ptr<Model> load_in_f32() {
    const TempDir dir;
    const std::string path = dir.file("f32.gguf");
    quantize(default_model_path(), path, "F32");
    return load_on_cpu(path);
}

// Where the two best are as close as two log-likelihoods may differ, either may be the best.
bool is_near_tie(std::vector<double> values) {
    std::sort(values.rbegin(), values.rend());
    return values.size() > 1 && values[0] - values[1] < 2 * k_tolerance;
}

LogLikelihoods dense_log_likelihoods(const Model &model, const EvalTask &task) {
    EngineOptions options = test_options();
    options.n_threads = 2;
    options.n_sequences = eval_sequences(std::span(&task, 1), 16);
    Engine engine(model, options);
    const Plan plan = dense_plan(model.hparams().n_layers);
    const auto batches = choice_batches(task.inputs, options.n_sequences);
    LogLikelihoods found;
    for (size_t b = 0; b + 1 < batches.size(); ++b) {
        const auto inputs = std::span(task.inputs).subspan(batches[b], batches[b + 1] - batches[b]);
        const auto of_batch = choice_log_likelihoods(engine, std::span(&plan, 1), inputs);
        found.insert(found.end(), of_batch.front().begin(), of_batch.front().end());
    }
    return found;
}

void expect_log_likelihoods(const Model &model, const std::string &name, size_t n_docs) {
    const json docs = fixture_of(name)["docs"];
    const EvalTask task = read_task(name, model.vocab(), n_docs);
    const LogLikelihoods found = dense_log_likelihoods(model, task);
    ASSERT_EQ(found.size(), n_docs);
    for (size_t i = 0; i < n_docs; ++i) {
        SCOPED_TRACE(name + " " + std::to_string(i));
        const auto expected = docs[i]["ll"].get<std::vector<double>>();
        ASSERT_EQ(found[i].size(), expected.size());
        for (size_t c = 0; c < expected.size(); ++c) {
            EXPECT_NEAR(found[i][c], expected[c], k_tolerance) << c;
        }
        if (!is_near_tie(expected)) {
            EXPECT_EQ(best(found[i]), best(expected));
        }
        if (docs[i].contains("mc2")) {
            const ChoiceScore score = score_choices(task.documents[i], found[i]);
            EXPECT_NEAR(score.mc2, docs[i]["mc2"].get<double>(), k_tolerance);
        }
    }
}

TEST(LmEval, GivesTheSameLogLikelihoods) {
    if (!reason_to_skip().empty()) {
        GTEST_SKIP() << reason_to_skip();
    }
    const auto model = load_in_f32();
    for (const std::string &name : choice_tasks()) {
        expect_log_likelihoods(*model, name,
                               name.starts_with("truthfulqa") ? k_n_truthfulqa : k_n_computed);
    }
}

TEST(LmEval, GivesTheSameAnswers) {
    if (!reason_to_skip().empty()) {
        GTEST_SKIP() << reason_to_skip();
    }
    const auto model = load_in_f32();
    const json docs = fixture_of("truthfulqa-gen")["docs"];
    const EvalTask task = read_task("truthfulqa-gen", model->vocab(), k_n_truthfulqa);
    EngineOptions engine_options = test_options();
    engine_options.n_sequences = static_cast<int>(k_n_truthfulqa);
    Engine engine(*model, engine_options);
    AnswerOptions options;
    options.plan = dense_plan(model->hparams().n_layers);
    options.max_new_tokens = task.max_new_tokens;
    options.stop = task.stop;
    const std::vector<Answer> answers = greedy_answers(engine, task.prompts, options);
    for (size_t i = 0; i < k_n_truthfulqa; ++i) {
        const std::string text = answers[i].text.substr(0, answers[i].text.find(task.stop));
        EXPECT_EQ(text, docs[i]["text"].get<std::string>()) << i;
        const BleuScores bleu =
            bleu_scores(text, {task.questions[i].correct, task.questions[i].incorrect});
        EXPECT_NEAR(bleu.max, docs[i]["bleu_max"].get<double>(), 1e-4) << i;
        EXPECT_NEAR(bleu.diff, docs[i]["bleu_diff"].get<double>(), 1e-4) << i;
    }
}

}  // namespace
}  // namespace orthorank::test
