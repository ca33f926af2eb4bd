#include "tasks/bench.h"

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"

namespace orthorank {

namespace {

class EngineArm : public BenchArm {
   public:
    EngineArm(Engine &engine, Plan plan) : engine_(engine), plan_(std::move(plan)) {}

    void prepare(const BenchShape &shape, std::span<const int32_t> tokens) override {
        if (static_cast<int>(sequences_.size()) != shape.n_sequences) {
            sequences_.clear();
            for (int i = 0; i < shape.n_sequences; ++i) {
                sequences_.push_back(engine_.new_sequence(plan_));
            }
        }
        if (shape.phase == Phase::decode && is_at_depth(shape, tokens)) {
            for (Sequence &sequence : sequences_) {
                sequence.truncate(shape.depth);
            }
        } else {
            for (Sequence &sequence : sequences_) {
                sequence.clear();
            }
            if (shape.phase == Phase::decode && shape.depth > 0) {
                forward(tokens.subspan(0, static_cast<size_t>(shape.depth)), Phase::prefill);
            }
        }
        remember_rows();
    }

    void run(const BenchShape &shape, std::span<const int32_t> tokens) override {
        if (shape.phase == Phase::prefill) {
            forward(tokens.subspan(0, static_cast<size_t>(shape.n_tokens)), Phase::prefill);
            return;
        }
        for (int i = 0; i < shape.n_tokens; ++i) {
            forward(tokens.subspan(static_cast<size_t>(shape.depth + i), 1), Phase::decode);
        }
    }

    double fraction_of_rows() const override {
        int64_t n_offered = -n_offered_before_;
        int64_t n_computed = -n_computed_before_;
        for (const Sequence &sequence : sequences_) {
            n_offered += sequence.n_rows_offered();
            n_computed += sequence.n_rows_computed();
        }
        return n_offered > 0 ? static_cast<double>(n_computed) / static_cast<double>(n_offered)
                             : 1.0;
    }

   private:
    // The prompt of an earlier repetition is still there: only what was decoded goes.
    bool is_at_depth(const BenchShape &shape, std::span<const int32_t> tokens) {
        const bool is_same = depth_ == shape.depth && prompt_ == tokens.data() &&
                             sequences_.front().n_past() >= shape.depth;
        depth_ = shape.depth;
        prompt_ = tokens.data();
        return is_same;
    }

    void remember_rows() {
        n_offered_before_ = 0;
        n_computed_before_ = 0;
        for (const Sequence &sequence : sequences_) {
            n_offered_before_ += sequence.n_rows_offered();
            n_computed_before_ += sequence.n_rows_computed();
        }
    }

    void forward(std::span<const int32_t> tokens, Phase phase) {
        std::vector<Chunk> batch(sequences_.size());
        for (size_t i = 0; i < batch.size(); ++i) {
            batch[i].sequence = &sequences_[i];
            batch[i].tokens = tokens;
            batch[i].phase = phase;
        }
        ForwardOptions options;
        options.on_logits = [](const LogitsBlock &) {};
        engine_.forward(batch, options);
    }

    Engine &engine_;
    Plan plan_;
    std::vector<Sequence> sequences_;
    int depth_ = -1;
    const int32_t *prompt_ = nullptr;
    int64_t n_offered_before_ = 0;
    int64_t n_computed_before_ = 0;
};

int tokens_needed(const BenchShape &shape) {
    return shape.n_tokens + (shape.phase == Phase::decode ? shape.depth : 0);
}

void run_shape(std::span<const std::unique_ptr<BenchArm>> arms, std::span<const int32_t> tokens,
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
                result.fraction_of_rows = arms[arm]->fraction_of_rows();
            }
            on_run();
        }
    }
}

}  // namespace

std::unique_ptr<BenchArm> make_engine_arm(Engine &engine, const Plan &plan) {
    return std::make_unique<EngineArm>(engine, plan);
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
                               std::span<const int32_t> tokens, const BenchOptions &options,
                               const OnBench &on_progress) {
    CHECK(!arms.empty() && options.n_repetitions > 0 && options.n_warmups >= 0);
    std::vector<BenchResult> results;
    for (const BenchShape &shape : options.shapes) {
        if (tokens_needed(shape) > static_cast<int>(tokens.size())) {
            fail(ErrorKind::limit, "the text has {} tokens, {} are needed: give a longer one",
                 tokens.size(), tokens_needed(shape));
        }
        for (size_t arm = 0; arm < arms.size(); ++arm) {
            results.push_back({arm, shape, {}, 1.0});
        }
    }
    const size_t n_rounds = static_cast<size_t>(options.n_warmups + options.n_repetitions);
    const size_t n_all = n_rounds * results.size();
    size_t n_done = 0;
    for (size_t i = 0; i < options.shapes.size(); ++i) {
        run_shape(arms, tokens, options,
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
