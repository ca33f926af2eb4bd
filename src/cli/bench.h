// The parts of `orthorank bench`: what was asked for, the measuring, the rows and how they are
// written. Used by that command alone.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/shared_options.h"
#include "evaluation/perplexity.h"
#include "timing/bench.h"

namespace orthorank {

struct BenchArguments {
    ModelArguments model;
    std::vector<std::string> arms = {"libllama", "dense"};
    std::vector<int> prefills;
    std::vector<int> first_tokens;  // prompt lengths
    std::vector<int> decodes;
    std::vector<int> depths = {0};
    std::vector<int> batches = {1};
    int n_repetitions = 5;
    int n_warmups = 1;
    int n_processes = 1;
    std::string file;  // empty: the documentation
    std::string field = "text";
    bool random_tokens = false;
    bool has_breakdown = false;
    std::string quality_file;
    int n_quality_windows = 4;
    int quality_ctx = 2048;
    std::string json;
    std::string markdown;
    std::string csv;
    std::string svg;
    std::string scale_svg;
    std::string memory_svg;
};

struct NamedArm {
    std::string name;
    Plan plan;  // dense for libllama
    bool is_libllama = false;
};

struct BenchText {
    std::string source;  // "documentation", "random tokens", or the file
    std::vector<int32_t> tokens;
};

struct Measured {
    std::vector<BenchResult> results;  // as bench() orders them
    nlohmann::ordered_json engine;     // as in every result; n_ctx: of the longest shape
};

// What varies among the rows of a scale study, and is its plots' x axis.
enum class ScaleAxis { tokens, sequences, selecting_layers };

// One arm on one shape beside the others of the same run. Pointers into what was measured.
struct BenchRow {
    const BenchResult *result = nullptr;
    const BenchResult *dense = nullptr;     // null: no such arm
    const BenchResult *libllama = nullptr;  // null: no such arm
    const NamedArm *arm = nullptr;
    const PerplexityResult *quality = nullptr;  // null: not asked for
    std::optional<double> bound;                // speed-up over dense by the cost model
    std::optional<double> time_bound;
    // Prefill: the time of the smallest dense prefill times the growth of the arithmetic from it.
    std::optional<double> predicted_seconds;
};

// Everything that the writers need.
struct BenchReport {
    std::string model;
    std::string file_type;
    std::string type_in_use;  // with --weights: "Q4_1 as bf16"
    std::string weights;      // --weights: "file", "bf16"
    int64_t weight_bytes = 0;
    std::string device;
    std::string text;  // which text, and how much of it
    int n_threads = 0;
    int n_processes = 1;
    bool has_breakdown = false;
    bool has_quality = false;
    std::optional<ScaleAxis> axis;  // nothing: nothing varies
    std::vector<BenchRow> rows;
};

// What computes: --threads, or one per processor.
int n_threads_of(const BenchArguments &arguments);
// The shapes in the order in which they run. Throws Error{usage} when there is none.
std::vector<BenchShape> bench_shapes(const BenchArguments &arguments);
// Throws Error{usage} for an arm that is not known or named twice, and as read_plan_for does.
std::vector<NamedArm> bench_arms(const BenchArguments &arguments, const Model &model);
BenchText bench_text(const BenchArguments &arguments, const Model &model);

// In this process.
Measured measure(const BenchArguments &arguments, const Model &model,
                 std::span<const NamedArm> arms, const BenchText &text);
// In fresh processes of this program, one after the other, each with the same arguments: the
// results' seconds lie one process after the other. Throws Error{device} when one fails.
Measured measure_in_processes(const BenchArguments &arguments, const Argv &argv, size_t n_results);
// Perplexity of the dense plan, then of each arm's that is not dense. Empty: not asked for.
std::vector<PerplexityResult> measure_quality(const BenchArguments &arguments, const Model &model,
                                              std::span<const NamedArm> arms);

std::vector<BenchRow> bench_rows(const BenchArguments &arguments, const Model &model,
                                 std::span<const NamedArm> arms,
                                 std::span<const BenchResult> results,
                                 std::span<const PerplexityResult> quality);

// Lengths (of prompts, or before decodes) where there are several, else numbers of sequences, else
// those of selecting layers in the plans that remove none.
std::optional<ScaleAxis> scale_axis(std::span<const BenchShape> shapes,
                                    std::span<const NamedArm> arms);
size_t n_selecting_layers(const Plan &plan);

// A row's bytes by what takes them: "weights", "kv_cache" ..., "memory" (all of these together) and
// "peak_resident"; nothing where it is not known.
using BenchMemory = std::vector<std::pair<std::string, std::optional<int64_t>>>;
BenchMemory bench_memory(const BenchRow &row, const BenchReport &report);
int64_t bytes_beside_weights(const Engine::MemoryUse &use);

// "4 x decode 32 @ 512"
// "prefill", "first token" or "decode".
const char *phase_text(const BenchShape &shape);
std::string shape_text(const BenchShape &shape);
// Interquartile range over the median.
double relative_spread(std::span<const double> seconds);
// The base's time over this one's, process by process: medians over repetitions.
std::vector<double> process_ratios(const BenchResult &base, const BenchResult &of, int n_processes);

nlohmann::ordered_json bench_row_json(const BenchRow &row, const BenchReport &report);
// Seconds, facts, operations and peak of such a row.
void read_bench_row(const nlohmann::ordered_json &json, BenchResult &result);

std::string bench_table(const BenchReport &report);
std::string bench_markdown(const BenchReport &report);
std::string bench_csv(const BenchReport &report);
// Ratio to dense as bars with both bounds.
std::string bench_bars_svg(const BenchReport &report);
// Time with the predictions, and memory, against the report's axis, which must be there.
std::string bench_scale_svg(const BenchReport &report);
std::string bench_memory_svg(const BenchReport &report);

}  // namespace orthorank
