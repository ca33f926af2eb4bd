// Speed, measured so that it can be trusted: the arms (libllama, the dense model, plans) take turns
// in one process on the same tokens, repetition by repetition, and ratios are taken within a
// repetition, so that a machine that slows down slows all arms down. Times are wall-clock seconds
// of the calls alone; nothing else should run meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "graph/operation.h"
#include "model/rpc_servers.h"

namespace orthorank {

// What is timed: a prefill of n_tokens, or a decode of n_tokens one by one after a prompt of depth
// tokens; for n_sequences sequences at once.
struct BenchShape {
    Phase phase = Phase::prefill;
    int n_tokens = 0;
    int depth = 0;  // decode only
    int n_sequences = 1;
    // Prefill only: to the id of the first generated token, taken greedily: the time to first
    // token.
    bool takes_token = false;

    bool operator==(const BenchShape &) const = default;
};

// What each sequence is given: the prompt, then what is decoded.
using BenchTokens = std::vector<std::span<const int32_t>>;

// Tokens that one sequence of a shape needs.
int tokens_needed(const BenchShape &shape);

// Stretches of one text, one for each sequence, as far apart as the text allows: a text of
// n_sequences times tokens_needed() gives each its own. Sequences of equal tokens would pick equal
// rows, which no batch of requests does. Throws Error{limit} when one sequence's do not fit.
BenchTokens tokens_of_sequences(std::span<const int32_t> text, const BenchShape &shape);

// What is known of an arm's last run beside its time.
struct RunFacts {
    // The part of its rows that each layer computed: 1 for dense layers, 0 for removed ones. Empty:
    // not known.
    std::vector<double> layer_fractions;
    // Of the rows offered to selecting layers; 1 without any.
    double fraction_of_rows = 1.0;
    std::optional<Engine::MemoryUse> memory;  // of an engine made for this shape alone
    std::optional<RpcTraffic> traffic;        // over the links to RPC servers
};

// Something that can run a shape. Not thread-safe.
class BenchArm {
 public:
    virtual ~BenchArm() = default;
    // Untimed: brings the arm to the state before a timed run.
    virtual void prepare(const BenchShape &shape, const BenchTokens &tokens) = 0;
    // The timed run; returns after the last result is there.
    virtual void run(const BenchShape &shape, const BenchTokens &tokens) = 0;
    // The same run divided into operations, whose times it adds; false: this arm cannot do that.
    virtual bool run_observed(const BenchShape &, const BenchTokens &, OperationTimes &) {
        return false;
    }
    virtual RunFacts facts() const { return {}; }
    // Logits of the sequence's last token in the last run, [n_vocab], until the next one; empty:
    // this arm keeps none.
    virtual std::span<const float> last_logits(size_t /*sequence*/) const { return {}; }
};

// Our engine under a plan. It makes an engine of these options for each shape, with the sequences
// and the context that the shape needs, so that memory is that of the shape. The model must outlive
// the arm.
std::unique_ptr<BenchArm> make_engine_arm(const Model &model, const EngineOptions &options,
                                          const Plan &plan);

// libllama on the model's file as it is, on the model's device, with the threads, KV cache type,
// context and sequences of these options; flash attention on, 512 tokens in a physical batch.
// Throws Error{usage} for a device that it cannot be given, Error{file} when it cannot load the
// file. (timing/bench_libllama.cpp)
std::unique_ptr<BenchArm> make_libllama_arm(const Model &model, const EngineOptions &options);

struct BenchOptions {
    std::vector<BenchShape> shapes;
    int n_repetitions = 5;
    int n_warmups = 1;
    // Arms to divide into operations, in passes of their own after the timed ones.
    std::vector<size_t> observed_arms;
};

struct BenchResult {
    size_t arm = 0;
    BenchShape shape;
    std::vector<double> seconds;  // one per repetition
    RunFacts facts;
    std::optional<OperationTimes> operations;  // of one run, in passes of their own
    // The process's so far, all arms' memory included, when this shape was done.
    std::optional<int64_t> peak_resident_bytes;
    int64_t n_tokens() const { return int64_t{shape.n_tokens} * shape.n_sequences; }
    // tokens of all sequences / seconds
    double tokens_per_second(double of_seconds) const;
};

// Median over repetitions of (seconds of `base` / seconds of `of`), with its quartiles: above 1,
// `of` is faster.
struct SpeedRatio {
    double median = 0;
    double low = 0;   // first quartile
    double high = 0;  // third quartile
};
SpeedRatio speed_ratio(const BenchResult &base, const BenchResult &of);

using OnBench = std::function<void(size_t n_done, size_t n_all)>;

// All arms on all shapes: results[shape * n_arms + arm]. Arms run interleaved, in an order that
// rotates from repetition to repetition. Throws Error{limit} when there are too few tokens.
std::vector<BenchResult> bench(std::span<const std::unique_ptr<BenchArm>> arms,
                               std::span<const int32_t> text, const BenchOptions &options,
                               const OnBench &on_progress = {});

}  // namespace orthorank
