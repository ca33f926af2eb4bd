// Choices scored together and with a shared context get what each gets alone, under every kind of
// plan; and the evaluation of whole tasks resumes to the same bits.
#include "evaluation/choice_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "graph/segment.h"
#include "session/log_probs.h"
#include "support/compare.h"
#include "support/engine_runs.h"
#include "support/errors.h"

namespace orthorank::test {
namespace {

using testing::ElementsAre;

ScoringInput input_of(std::vector<int32_t> all, size_t n_targets) {
    ScoringInput input;
    input.targets.assign(all.end() - static_cast<std::ptrdiff_t>(n_targets), all.end());
    all.pop_back();
    input.ids = std::move(all);
    return input;
}

std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t> &b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// One context and several continuations; different contexts before one continuation; choices of a
// single token, whose inputs are all the same; a document with one choice.
std::vector<DocumentInputs> documents() {
    std::vector<DocumentInputs> documents(4);
    const auto context = random_tokens(21, 1);
    for (const int n : {5, 1, 9, 3}) {
        documents[0].push_back(
            input_of(joined(context, random_tokens(n, 10 + n)), static_cast<size_t>(n)));
    }
    const auto continuation = random_tokens(7, 2);
    for (const int n : {2, 3}) {
        documents[1].push_back(input_of(
            joined(joined(random_tokens(12, 3), random_tokens(n, 20 + n)), continuation), 7));
    }
    for (const int token : {40, 41, 42}) {
        documents[2].push_back(input_of(joined(random_tokens(15, 4), {token}), 1));
    }
    documents[3].push_back(input_of(random_tokens(30, 5), 12));
    return documents;
}

LogLikelihoods run_plan(Engine &engine, const Plan &plan, std::span<const DocumentInputs> documents,
                        const ChoiceEvalOptions &options = {}) {
    return choice_log_likelihoods(engine, std::span(&plan, 1), documents, options).front();
}

class ChoiceEvalTest : public testing::TestWithParam<std::string> {
 protected:
    const Model &model_ = fixture_model(GetParam());
    const int n_layers_ = model_.hparams().n_layers;

    std::unique_ptr<Engine> engine(int n_sequences, int chunk_rows = 512) const {
        EngineOptions options = test_options();
        options.n_sequences = n_sequences;
        options.chunk_rows = chunk_rows;
        return std::make_unique<Engine>(model_, options);
    }

    // Selection in the first, a middle and the last layer; removed layers; all of it.
    std::vector<Plan> plans() const {
        const int last = n_layers_ - 1;
        Plan mixed = select_plan(n_layers_, {last}, 0.5, "norm-up");
        mixed.layers[1].action = Action::skip;
        return {dense_plan(n_layers_),
                skip_plan(n_layers_, {1}),
                select_plan(n_layers_, {0}, 0.4),
                select_plan(n_layers_, {1, last}, 0.333),
                mixed,
                select_plan(n_layers_, {1}, 0.5, "attention-up"),
                completed(skip_plan(n_layers_, {1}), model_.hparams().n_embd, 2),
                completed(select_plan(n_layers_, {1}, 0.4, "probe"), model_.hparams().n_embd, 2)};
    }

    // Straight from the definition: each choice alone, every row's logits.
    double alone(Engine &engine, const Plan &plan, const ScoringInput &input) const {
        Sequence sequence = engine.new_sequence(plan, Apply::prefill);
        const Logits logits = run(engine, sequence, input.ids);
        const auto n_vocab = static_cast<size_t>(model_.hparams().n_vocab);
        double sum = 0;
        for (size_t k = 0; k < input.targets.size(); ++k) {
            const std::span<const float> row =
                std::span(logits).subspan((input.first_row() + k) * n_vocab, n_vocab);
            double total = 0;
            for (const float logit : row) {
                total += std::exp(static_cast<double>(logit));
            }
            sum +=
                static_cast<double>(row[static_cast<size_t>(input.targets[k])]) - std::log(total);
        }
        return sum;
    }

    void expect_near(const LogLikelihoods &found, const LogLikelihoods &expected) const {
        ASSERT_EQ(found.size(), expected.size());
        for (size_t d = 0; d < found.size(); ++d) {
            ASSERT_EQ(found[d].size(), expected[d].size());
            for (size_t c = 0; c < found[d].size(); ++c) {
                EXPECT_NEAR(found[d][c], expected[d][c], 2e-3) << "document " << d << ", " << c;
            }
        }
    }
};

// A context under a plan for prompts, then the choice's tokens one by one, as a session decodes.
TEST_P(ChoiceEvalTest, ChoicesBehindAPrompt) {
    const std::vector<DocumentInputs> documents = test::documents();
    const auto engine = this->engine(10);
    const auto n_vocab = static_cast<size_t>(model_.hparams().n_vocab);
    for (Plan plan : plans()) {
        if (plan.is_dense()) {
            continue;
        }
        plan.apply = Apply::prefill;
        plan.keep_last = 3;
        LogLikelihoods expected;
        for (const DocumentInputs &document : documents) {
            expected.emplace_back();
            for (const ScoringInput &input : document) {
                Sequence sequence = engine->new_sequence(plan);
                const std::span<const int32_t> ids(input.ids);
                Logits logits =
                    run(*engine, sequence, ids.first(input.first_row() + 1), Outputs::last);
                const Logits steps =
                    run_steps(*engine, sequence, ids.subspan(input.first_row() + 1));
                logits.insert(logits.end(), steps.begin(), steps.end());
                double sum = 0;
                for (size_t k = 0; k < input.targets.size(); ++k) {
                    const auto row = std::span(logits).subspan(k * n_vocab, n_vocab);
                    sum += row[static_cast<size_t>(input.targets[k])] - log_sum_exp(row);
                }
                expected.back().push_back(sum);
            }
        }
        for (const bool shares : {true, false}) {
            ChoiceEvalOptions options;
            options.shares_context = shares;
            expect_near(
                choice_log_likelihoods(*engine, std::span(&plan, 1), documents, options).front(),
                expected);
        }
    }
}

TEST_P(ChoiceEvalTest, TogetherIsOneByOne) {
    const std::vector<DocumentInputs> documents = test::documents();
    for (const int chunk_rows : {512, 16}) {
        const auto engine = this->engine(10, chunk_rows);
        for (const Plan &plan : plans()) {
            SCOPED_TRACE(plan_to_json(plan).dump());
            LogLikelihoods expected;
            for (const DocumentInputs &document : documents) {
                expected.emplace_back();
                for (const ScoringInput &input : document) {
                    expected.back().push_back(alone(*engine, plan, input));
                }
            }
            for (const bool shares : {true, false}) {
                SCOPED_TRACE(shares);
                ChoiceEvalOptions options;
                options.shares_context = shares;
                expect_near(run_plan(*engine, plan, documents, options), expected);
                for (size_t d = 0; d < documents.size(); ++d) {
                    expect_near(
                        run_plan(*engine, plan, std::span(documents).subspan(d, 1), options),
                        {expected[d]});
                }
            }
        }
    }
}

TEST_P(ChoiceEvalTest, TheSameCallGivesTheSameBits) {
    const auto engine = this->engine(10);
    for (const Plan &plan : plans()) {
        EXPECT_EQ(run_plan(*engine, plan, documents()), run_plan(*engine, plan, documents()));
    }
}

TEST_P(ChoiceEvalTest, PlansOfOneCallGetTheBitsOfOneAlone) {
    const std::vector<DocumentInputs> documents = test::documents();
    const auto engine = this->engine(10);
    std::vector<Plan> plans = this->plans();
    for (const bool has_dense : {true, false}) {
        const auto together = choice_log_likelihoods(*engine, plans, documents);
        ASSERT_EQ(together.size(), plans.size());
        for (size_t p = 0; p < plans.size(); ++p) {
            EXPECT_EQ(together[p], run_plan(*engine, plans[p], documents)) << has_dense << p;
        }
        plans.erase(plans.begin());
    }
}

// Rows times layers, the rows of selecting layers counted as far as they are computed.
class RowCount : public GraphWatch {
 public:
    void on_graph(const SegmentGraph &graph) override {
        const SegmentShape &shape = graph.shape;
        n += shape.dense_layers.size() * static_cast<size_t>(shape.rows.n_rows) +
             static_cast<size_t>(shape.body.n_rows);
    }
    size_t n = 0;
};

// documents(): 21 common ids and 4 + 0 + 8 + 2; 12 and 8 + 9; one kind of 15; 29.
constexpr size_t k_shared_rows = 21 + 14 + 12 + 17 + 15 + 29;
constexpr size_t k_whole_rows = 4 * 21 + 14 + 2 * 12 + 17 + 15 + 29;
constexpr size_t k_half_of_wholes = 12 + 10 + 14 + 11 + 10 + 10 + 7 + 14;

TEST_P(ChoiceEvalTest, NothingIsComputedTwice) {
    const auto engine = this->engine(10);
    const auto n_layers = static_cast<size_t>(n_layers_);
    const auto count = [&](const std::vector<Plan> &plans) {
        RowCount watch;
        ChoiceEvalOptions options;
        options.watch = &watch;
        choice_log_likelihoods(*engine, plans, documents(), options);
        return watch.n;
    };
    const Plan dense = dense_plan(n_layers_);
    const Plan skips = skip_plan(n_layers_, {2});
    const Plan selects = select_plan(n_layers_, {1}, 0.5);
    const size_t of_dense = n_layers * k_shared_rows;
    const size_t of_wholes = k_half_of_wholes + (n_layers - 2) * k_whole_rows;
    EXPECT_EQ(count({dense}), of_dense);
    EXPECT_EQ(count({selects}), k_shared_rows + of_wholes);
    EXPECT_EQ(count({dense, selects}), of_dense + of_wholes);
    EXPECT_EQ(count({dense, skips}), of_dense + (n_layers - 3) * k_shared_rows);
    EXPECT_EQ(count({skips, selects}), (n_layers - 1) * k_shared_rows + of_wholes);
}

INSTANTIATE_TEST_SUITE_P(Tiny, ChoiceEvalTest, testing::ValuesIn(main_fixture_models()),
                         [](const auto &test) { return test_name(test.param); });

TEST(ChoiceBatches, AreBoundByRowsAndSequences) {
    const std::vector<DocumentInputs> documents = test::documents();
    EXPECT_EQ(longest_input(documents), 29u);
    EXPECT_EQ(most_choices(documents), 4u);
    EXPECT_THAT(choice_batches(documents, 10), ElementsAre(0, 4));
    EXPECT_THAT(choice_batches(documents, 5), ElementsAre(0, 1, 3, 4));
    ChoiceEvalOptions options;
    options.batch_rows = 1;
    EXPECT_THAT(choice_batches(documents, 10, options), ElementsAre(0, 1, 2, 3, 4));
    EXPECT_THAT(choice_batches({}, 10), ElementsAre(0));
    expect_error(ErrorKind::limit, "4 choices", [&] { choice_batches(documents, 3); });
}

// Rows that go on behind a shared context bring their tokens, and begin before the layers whose
// keys later ones read.
TEST(ChoiceEvalOfSharedKeys, ASharedContextIsEachAlone) {
    const auto model = load_tiny(tiny_architecture("gemma4e"));
    const std::vector<DocumentInputs> documents = test::documents();
    EngineOptions engine_options = test_options();
    engine_options.n_sequences = 10;
    Engine engine(*model, engine_options);
    for (const std::vector<int> &layers : {std::vector<int>{}, {1, 7}, {4}, {6}}) {
        const Plan plan = select_plan(8, layers, 0.4);
        ChoiceEvalOptions options;
        options.shares_context = false;
        const LogLikelihoods alone = run_plan(engine, plan, documents, options);
        options.shares_context = true;
        const LogLikelihoods shared = run_plan(engine, plan, documents, options);
        for (size_t d = 0; d < documents.size(); ++d) {
            for (size_t c = 0; c < documents[d].size(); ++c) {
                EXPECT_NEAR(shared[d][c], alone[d][c], 2e-3) << "document " << d << ", " << c;
            }
        }
    }
}

}  // namespace
}  // namespace orthorank::test
