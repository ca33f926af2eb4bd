// What a benchmark found, as rows of one arm on one shape beside the others of the same run, and
// how they are written: tables, Markdown, CSV, JSON, plots. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/perplexity.h"
#include "graph/cpu_peak.h"
#include "report/comparison_table.h"
#include "timing/bench.h"
#include "timing/bench_study.h"

namespace orthorank {

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
    std::optional<double> flops;                // of a prefill, by the cost model
    std::optional<double> bytes;                // that a decode reads, by the cost model
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
    std::vector<DeviceShare> shares;
    std::string kernels;  // as EngineOptions names them, with the processor's level
    std::string text;     // which text, and how much of it
    int n_threads = 0;
    int n_processes = 1;
    std::optional<MachinePeak> peak;  // measured in the same run; nothing: not asked for
    bool has_breakdown = false;
    bool has_quality = false;
    std::optional<ScaleAxis> axis;  // nothing: nothing varies
    std::vector<BenchRow> rows;
};

// The whole report but for `n_processes`, which is the caller's. The study, the results and the
// quality must outlive it.
BenchReport bench_report(const Model &model, const BenchStudy &study, const BenchText &text,
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

// "prefill", "first token" or "decode".
const char *phase_text(const BenchShape &shape);
// "4 x decode 32 @ 512"
std::string shape_text(const BenchShape &shape);
// Interquartile range over the median.
double relative_spread(std::span<const double> seconds);
// The base's time over this one's, process by process: medians over repetitions.
std::vector<double> process_ratios(const BenchResult &base, const BenchResult &of, int n_processes);

// A row's rate in the median repetition, and its share of the machine's; nothing where the report
// or the row lacks one of them.
struct RooflinePoint {
    std::optional<double> flops_per_second;
    std::optional<double> share_of_flops;
    std::optional<double> bytes_per_second;
    std::optional<double> share_of_bytes;
};
RooflinePoint roofline_point(const BenchRow &row, const BenchReport &report);

// How many bytes a second a link of one Gbit/s carries.
constexpr double k_gigabit = 1e9 / 8;
// What a plan gains over dense at most where both have to send what they sent to RPC servers in
// their last run over a link of k_gigabit: the dense run's time falls by the time bound (or else
// the bound), what is sent does not. Nothing without servers, a dense arm or a bound.
std::optional<double> bound_with_link(const BenchRow &row);
nlohmann::ordered_json peak_json(const std::optional<MachinePeak> &peak);
// The machine in the first row, then each arm and shape; its peak must be there.
ComparisonTable roofline_table(const BenchReport &report);

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
