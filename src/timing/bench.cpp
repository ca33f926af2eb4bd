#include "timing/bench.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/resident_memory.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "graph/operation_profiler.h"
#include "session/session.h"

namespace orthorank {

namespace {

class EngineArm : public BenchArm {
 public:
    EngineArm(const Model &model, const EngineOptions &options, Plan plan)
        : model_(model), options_(options), plan_(std::move(plan)) {}

    // Submits what run() runs, so that a sequence is not made in the time that is taken.
    void prepare(const BenchShape &shape, const BenchTokens &tokens) override {
        make_engine_for(shape);
        const bool is_decode = shape.phase == Phase::decode;
        n_before_ = is_decode ? shape.depth : 0;
        if (!is_decode || !is_at_depth(shape, tokens)) {
            release_requests();
            if (n_before_ > 0) {
                submit_all(tokens, [&](Request &request, std::span<const int32_t> of_sequence) {
                    const auto prompt = of_sequence.first(static_cast<size_t>(shape.depth));
                    request.tokens.assign(prompt.begin(), prompt.end());
                });
                drain();
            }
        }
        submit_all(tokens, [&](Request &request, std::span<const int32_t> of_sequence) {
            const auto behind = of_sequence.subspan(static_cast<size_t>(n_before_));
            const size_t n_read = is_decode ? 1 : behind.size();
            request.n_prompt = is_decode ? 0 : -1;
            request.n_keep = n_before_;
            request.tokens.assign(behind.begin(), behind.begin() + static_cast<int64_t>(n_read));
            request.max_new_tokens = shape.takes_token ? 1 : 0;
            if (is_decode) {
                request.forced.assign(behind.begin() + 1, behind.end());
                request.forced.push_back(behind.back());  // the last one is not run
            }
        });
    }

    void run(const BenchShape &, const BenchTokens &) override {
        const std::optional<RpcTraffic> before = rpc_traffic();
        drain();
        traffic_ = rpc_traffic();
        if (traffic_ && before) {
            traffic_->sent -= before->sent;
            traffic_->received -= before->received;
        }
    }

    bool run_observed(const BenchShape &, const BenchTokens &, OperationTimes &times) override {
        OperationProfiler profiler;
        session_->set_watch(&profiler);
        const Stopwatch stopwatch;
        drain();  // what goes over links for the profiler's sake is not counted
        const double seconds = stopwatch.elapsed_s();
        session_->set_watch(nullptr);
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
        facts.traffic = traffic_;
        return facts;
    }

 private:
    std::optional<RpcTraffic> traffic_;  // of the last run

    // The prompt of an earlier repetition is still there: only what was decoded goes.
    bool is_at_depth(const BenchShape &shape, const BenchTokens &tokens) {
        std::vector<const int32_t *> prompts;
        for (const std::span<const int32_t> &of_sequence : tokens) {
            prompts.push_back(of_sequence.data());
        }
        const bool is_same = shape.depth > 0 && depth_ == shape.depth && prompts_ == prompts;
        depth_ = shape.depth;
        prompts_ = std::move(prompts);
        return is_same;
    }

    void make_engine_for(const BenchShape &shape) {
        if (engine_ && shape_ == shape) {
            return;
        }
        ids_.clear();
        session_.reset();
        engine_.reset();
        shape_ = shape;
        depth_ = -1;
        options_.n_ctx = tokens_needed(shape);
        options_.n_sequences = shape.n_sequences;
        engine_ = std::make_unique<Engine>(model_, options_);
        session_ = std::make_unique<Session>(*engine_, SessionOptions{.shared_rows = INT64_MAX});
    }

    void release_requests() {
        for (const RequestId id : ids_) {
            session_->release(id);
        }
        ids_.clear();
    }

    // A request for each sequence, behind the one before it if there is one.
    template <typename Fill>
    void submit_all(const BenchTokens &tokens, const Fill &fill) {
        for (size_t i = 0; i < tokens.size(); ++i) {
            Request request;
            fill(request, tokens[i]);
            request.keeps = true;
            request.wants_text = false;
            request.sampler.temperature = 0;
            if (i < ids_.size()) {
                request.after = ids_[i];
                ids_[i] = session_->submit(std::move(request));
            } else {
                request.plan = plan_;
                request.n_keep = -1;
                ids_.push_back(session_->submit(std::move(request)));
            }
        }
    }

    void drain() {
        while (!session_->is_idle()) {
            for (const Event &event : session_->step()) {
                if (event.kind == Event::Kind::failed) {
                    throw Error(event.error, event.message);
                }
            }
        }
    }

    // Of a selecting layer's rows in the last run.
    double fraction_computed(int il) const {
        int64_t n_offered = 0;
        int64_t n_computed = 0;
        for (const RequestId id : ids_) {
            const Sequence &sequence = *session_->sequence(id);
            const std::vector<uint8_t> &chosen = sequence.record(il).chosen;
            n_offered += sequence.n_past() - n_before_;
            n_computed += std::count(chosen.begin() + n_before_, chosen.end(), 1);
        }
        return static_cast<double>(n_computed) / static_cast<double>(n_offered);
    }

    const Model &model_;
    EngineOptions options_;
    Plan plan_;
    BenchShape shape_;
    std::unique_ptr<Engine> engine_;  // for shape_
    std::unique_ptr<Session> session_;
    std::vector<RequestId> ids_;  // of each sequence, the last request
    int depth_ = -1;
    std::vector<const int32_t *> prompts_;
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
