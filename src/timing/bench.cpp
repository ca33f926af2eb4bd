#include "timing/bench.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/resident_memory.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "graph/operation_profiler.h"
#include "session/log_probs.h"

namespace orthorank {

namespace {

class EngineArm : public BenchArm {
 public:
    EngineArm(const Model &model, const EngineOptions &options, Plan plan)
        : model_(model), options_(options), plan_(std::move(plan)) {}

    void prepare(const BenchShape &shape, const BenchTokens &tokens) override {
        make_engine_for(shape);
        if (shape.phase == Phase::decode && is_at_depth(shape, tokens)) {
            for (Sequence &sequence : sequences_) {
                sequence.truncate(shape.depth);
            }
        } else {
            for (Sequence &sequence : sequences_) {
                sequence.clear();
            }
            if (shape.phase == Phase::decode && shape.depth > 0) {
                forward(tokens, 0, shape.depth, Phase::prefill);
            }
        }
        n_before_ = sequences_.front().n_past();
    }

    void run(const BenchShape &shape, const BenchTokens &tokens) override {
        if (shape.phase == Phase::prefill) {
            forward(tokens, 0, shape.n_tokens, Phase::prefill);
            return;
        }
        for (int i = 0; i < shape.n_tokens; ++i) {
            forward(tokens, shape.depth + i, 1, Phase::decode);
        }
    }

    bool run_observed(const BenchShape &shape, const BenchTokens &tokens,
                      OperationTimes &times) override {
        OperationProfiler profiler;
        watch_ = &profiler;
        const Stopwatch stopwatch;
        run(shape, tokens);
        const double seconds = stopwatch.elapsed_s();
        watch_ = nullptr;
        for (size_t i = 0; i < k_n_operations; ++i) {
            times.seconds[i] += profiler.times().seconds[i];
        }
        times[Operation::other] += seconds - profiler.times().total();
        return true;
    }

    RunFacts facts() const override {
        RunFacts facts;
        double sum = 0;
        int n_selecting = 0;
        const Plan plan = shape_.phase == Phase::decode ? plan_in_decode(plan_) : plan_;
        for (int il = 0; il < plan.n_layers(); ++il) {
            const Action action = plan.layers[static_cast<size_t>(il)].action;
            const double fraction = action == Action::dense  ? 1.0
                                    : action == Action::skip ? 0.0
                                                             : fraction_computed(il);
            facts.layer_fractions.push_back(fraction);
            sum += action == Action::select ? fraction : 0.0;
            n_selecting += action == Action::select ? 1 : 0;
        }
        facts.fraction_of_rows = n_selecting > 0 ? sum / n_selecting : 1.0;
        facts.memory = engine_->memory();
        return facts;
    }

 private:
    // The prompt of an earlier repetition is still there: only what was decoded goes.
    bool is_at_depth(const BenchShape &shape, const BenchTokens &tokens) {
        std::vector<const int32_t *> prompts;
        for (const std::span<const int32_t> &of_sequence : tokens) {
            prompts.push_back(of_sequence.data());
        }
        const bool is_same = depth_ == shape.depth && prompts_ == prompts &&
                             sequences_.front().n_past() >= shape.depth;
        depth_ = shape.depth;
        prompts_ = std::move(prompts);
        return is_same;
    }

    void make_engine_for(const BenchShape &shape) {
        if (engine_ && shape_ == shape) {
            return;
        }
        sequences_.clear();
        engine_.reset();
        shape_ = shape;
        depth_ = -1;
        options_.n_ctx = tokens_needed(shape);
        options_.n_sequences = shape.n_sequences;
        engine_ = std::make_unique<Engine>(model_, options_);
        for (int i = 0; i < shape.n_sequences; ++i) {
            sequences_.push_back(engine_->new_sequence(plan_));
        }
    }

    // Of a selecting layer's rows in the last run.
    double fraction_computed(int il) const {
        int64_t n_offered = 0;
        int64_t n_computed = 0;
        for (const Sequence &sequence : sequences_) {
            const std::vector<uint8_t> &chosen = sequence.record(il).chosen;
            n_offered += sequence.n_past() - n_before_;
            n_computed += std::count(chosen.begin() + n_before_, chosen.end(), 1);
        }
        return static_cast<double>(n_computed) / static_cast<double>(n_offered);
    }

    // n tokens of each sequence, from its token `first` on.
    void forward(const BenchTokens &tokens, int first, int n, Phase phase) {
        std::vector<Chunk> batch(sequences_.size());
        for (size_t i = 0; i < batch.size(); ++i) {
            batch[i].sequence = &sequences_[i];
            batch[i].tokens = tokens[i].subspan(static_cast<size_t>(first), static_cast<size_t>(n));
            batch[i].phase = phase;
        }
        ForwardOptions options;
        options.on_logits = [this](const LogitsBlock &block) {
            if (shape_.takes_token) {
                token_ = argmax({block.logits, static_cast<size_t>(block.n_vocab)});
            }
        };
        options.watch = watch_;
        engine_->forward(batch, options);
    }

    const Model &model_;
    EngineOptions options_;
    Plan plan_;
    BenchShape shape_;
    std::unique_ptr<Engine> engine_;  // for shape_; outlives the sequences
    std::vector<Sequence> sequences_;
    int depth_ = -1;
    std::vector<const int32_t *> prompts_;
    GraphWatch *watch_ = nullptr;
    int32_t token_ = -1;    // that the last run took
    int64_t n_before_ = 0;  // tokens of a sequence before the last run
};

// Enough passes for a median, none of which is compared with the timed ones.
constexpr int k_max_observed = 3;

// Each operation's median over the passes.
void observe(BenchArm &arm, const BenchTokens &tokens, int n_runs, BenchResult &result) {
    std::array<std::vector<double>, k_n_operations> seconds;
    for (int run = 0; run < n_runs; ++run) {
        OperationTimes times;
        arm.prepare(result.shape, tokens);
        if (!arm.run_observed(result.shape, tokens, times)) {
            return;
        }
        for (size_t i = 0; i < k_n_operations; ++i) {
            seconds[i].push_back(times.seconds[i]);
        }
    }
    result.operations.emplace();
    for (size_t i = 0; i < k_n_operations; ++i) {
        result.operations->seconds[i] = median(seconds[i]);
    }
}

void run_shape(std::span<const std::unique_ptr<BenchArm>> arms, const BenchTokens &tokens,
               const BenchOptions &options, std::span<BenchResult> results,
               const std::function<void()> &on_run) {
    const size_t n_rounds = static_cast<size_t>(options.n_warmups + options.n_repetitions);
    for (size_t round = 0; round < n_rounds; ++round) {
        for (size_t turn = 0; turn < arms.size(); ++turn) {
            const size_t arm = (turn + round) % arms.size();
            BenchResult &result = results[arm];
            arms[arm]->prepare(result.shape, tokens);
            const Stopwatch stopwatch;
            arms[arm]->run(result.shape, tokens);
            const double seconds = stopwatch.elapsed_s();
            if (round >= static_cast<size_t>(options.n_warmups)) {
                result.seconds.push_back(seconds);
                result.facts = arms[arm]->facts();
            }
            on_run();
        }
    }
    for (size_t arm : options.observed_arms) {
        observe(*arms[arm], tokens, std::min(options.n_repetitions, k_max_observed), results[arm]);
    }
    for (BenchResult &result : results) {
        result.peak_resident_bytes = peak_resident_bytes();
    }
}

}  // namespace

int tokens_needed(const BenchShape &shape) {
    return shape.n_tokens + (shape.phase == Phase::decode ? shape.depth : 0);
}

BenchTokens tokens_of_sequences(std::span<const int32_t> text, const BenchShape &shape) {
    const auto n = static_cast<size_t>(tokens_needed(shape));
    if (n > text.size()) {
        fail(ErrorKind::limit, "the text has {} tokens, {} are needed: give a longer one with -f",
             text.size(), n);
    }
    const auto n_sequences = static_cast<size_t>(shape.n_sequences);
    const size_t step =
        n_sequences > 1 ? std::min(n, (text.size() - n) / (n_sequences - 1)) : size_t{0};
    BenchTokens tokens;
    for (size_t i = 0; i < n_sequences; ++i) {
        tokens.push_back(text.subspan(i * step, n));
    }
    return tokens;
}

std::unique_ptr<BenchArm> make_engine_arm(const Model &model, const EngineOptions &options,
                                          const Plan &plan) {
    return std::make_unique<EngineArm>(model, options, plan);
}

double BenchResult::tokens_per_second(double of_seconds) const {
    return static_cast<double>(shape.n_tokens) * shape.n_sequences / of_seconds;
}

SpeedRatio speed_ratio(const BenchResult &base, const BenchResult &of) {
    CHECK(base.seconds.size() == of.seconds.size());
    std::vector<double> ratios;
    for (size_t i = 0; i < of.seconds.size(); ++i) {
        ratios.push_back(base.seconds[i] / of.seconds[i]);
    }
    return {median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75)};
}

std::vector<BenchResult> bench(std::span<const std::unique_ptr<BenchArm>> arms,
                               std::span<const int32_t> text, const BenchOptions &options,
                               const OnBench &on_progress) {
    CHECK(!arms.empty() && options.n_repetitions > 0 && options.n_warmups >= 0);
    std::vector<BenchResult> results;
    std::vector<BenchTokens> tokens_of_shapes;
    for (const BenchShape &shape : options.shapes) {
        tokens_of_shapes.push_back(tokens_of_sequences(text, shape));
        for (size_t arm = 0; arm < arms.size(); ++arm) {
            results.emplace_back();
            results.back().arm = arm;
            results.back().shape = shape;
        }
    }
    const size_t n_rounds = static_cast<size_t>(options.n_warmups + options.n_repetitions);
    const size_t n_all = n_rounds * results.size();
    size_t n_done = 0;
    for (size_t i = 0; i < options.shapes.size(); ++i) {
        run_shape(arms, tokens_of_shapes[i], options,
                  std::span(results).subspan(i * arms.size(), arms.size()), [&] {
                      ++n_done;
                      if (on_progress) {
                          on_progress(n_done, n_all);
                      }
                  });
    }
    return results;
}

}  // namespace orthorank
