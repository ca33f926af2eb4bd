// Rows as tables and CSV.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/statistics.h"
#include "report/comparison_table.h"
#include "report/numbers_text.h"
#include "timing/bench_report.h"

namespace orthorank {

namespace {

constexpr const char *k_legend =
    "ratios: median (quartiles) of the repetitions' own ratios, above 1 is faster; spread: "
    "interquartile range; bound: what the cost model allows over dense; time bound: the dense "
    "run's operations at the fractions that remain; memory: weights and an engine of this shape";

std::string ratio_text(const BenchResult *base, const BenchResult &of) {
    if (base == nullptr) {
        return "";
    }
    const SpeedRatio ratio = speed_ratio(*base, of);
    return fmt::format("{:.3f} ({:.3f}-{:.3f})", ratio.median, ratio.low, ratio.high);
}

// Lowest and highest ratio to dense of the processes.
std::string processes_text(const BenchRow &row, int n_processes) {
    if (row.dense == nullptr) {
        return "";
    }
    const std::vector<double> ratios = process_ratios(*row.dense, *row.result, n_processes);
    return fmt::format("{:.3f}-{:.3f}", *std::min_element(ratios.begin(), ratios.end()),
                       *std::max_element(ratios.begin(), ratios.end()));
}

// Of a row that has memory.
int64_t all_bytes(const BenchRow &row, const BenchReport &report) {
    return report.weight_bytes + bytes_beside_weights(*row.result->facts.memory);
}

Cells cells_of(const BenchRow &row, const BenchReport &report) {
    const BenchResult &result = *row.result;
    const bool is_libllama = row.arm->is_libllama;
    Cells cells = {
        {"arm", row.arm->name},
        {"model", report.model},
        {"type", is_libllama ? report.file_type : report.type_in_use},
        {"device", report.device},
        {"threads", std::to_string(report.n_threads)},
        {"shape", shape_text(result.shape)},
        {"sparsity", fmt::format("{:.1f}%", 100 * row.arm->plan.effective_sparsity())},
        {"rows", fmt::format("{:.1f}%", 100 * result.facts.fraction_of_rows)},
        {"tokens/s", fmt::format("{:.1f}", result.tokens_per_second(median(result.seconds)))},
        {"mean", fmt::format("{:.1f}", result.tokens_per_second(mean(result.seconds)))},
        {"spread", fmt::format("{:.1f}%", 100 * relative_spread(result.seconds))},
        {"over dense", ratio_text(row.dense, result)},
        {"over libllama", ratio_text(row.libllama, result)},
        {"bound", rounded_text(row.bound)},
        {"time bound", rounded_text(row.time_bound)},
        {"memory", is_libllama ? "" : bytes_text(all_bytes(row, report))}};
    if (report.n_processes > 1) {
        cells.emplace_back("processes", processes_text(row, report.n_processes));
    }
    if (report.has_quality) {
        const PerplexityResult *quality = row.quality;
        cells.emplace_back("perplexity",
                           quality == nullptr ? "" : with_error(quality->ppl, quality->se, 2));
        cells.emplace_back("ratio to dense",
                           quality == nullptr ? ""
                           : row.arm->plan.is_dense()
                               ? "1"
                               : with_error(quality->ratio, quality->ratio_se, 3));
    }
    return cells;
}

// What the column "memory" is made of.
ComparisonTable memory_table(const BenchReport &report) {
    ComparisonTable table;
    for (const BenchRow &row : report.rows) {
        if (!row.result->facts.memory) {
            continue;
        }
        const Engine::MemoryUse &use = *row.result->facts.memory;
        const std::optional<int64_t> peak = row.result->peak_resident_bytes;
        add_row({{"arm", row.arm->name},
                 {"shape", shape_text(row.result->shape)},
                 {"weights", bytes_text(report.weight_bytes)},
                 {"KV cache", bytes_text(use.kv_bytes)},
                 {"hidden states", bytes_text(use.hidden_bytes)},
                 {"compute buffers", bytes_text(use.compute_bytes)},
                 {"corrections", bytes_text(use.correction_bytes)},
                 {"all", bytes_text(all_bytes(row, report))},
                 {"process peak", peak ? bytes_text(*peak) : ""}},
                table);
    }
    return table;
}

// What went over the links to RPC servers; no rows where nothing did.
ComparisonTable link_table(const BenchReport &report) {
    ComparisonTable table;
    for (const BenchRow &row : report.rows) {
        const std::optional<RpcTraffic> &traffic = row.result->facts.traffic;
        if (!traffic || traffic->sent + traffic->received == 0) {
            continue;
        }
        const auto n = static_cast<double>(row.result->n_tokens());
        const auto all = static_cast<double>(traffic->sent + traffic->received);
        add_row({{"arm", row.arm->name},
                 {"shape", shape_text(row.result->shape)},
                 {"sent a token", fmt::format("{:.0f} B", static_cast<double>(traffic->sent) / n)},
                 {"received a token",
                  fmt::format("{:.0f} B", static_cast<double>(traffic->received) / n)},
                 {"at most over 1 Gbit/s", fmt::format("{:.1f} t/s", n * k_gigabit / all)},
                 {"bound with it", rounded_text(bound_with_link(row))}},
                table);
    }
    return table;
}

std::string shares_text(const BenchReport &report) {
    std::string text = "who holds what:";
    for (const DeviceShare &share : report.shares) {
        text += fmt::format(" {} ({}) {} layers, {};", share.device, share.description,
                            share.layers.size(), bytes_text(share.weight_bytes));
    }
    text.back() = '\n';
    return text;
}

// One table for each shape: operations down, arms across, milliseconds of a run and their share.
std::vector<ComparisonTable> breakdown_tables(const BenchReport &report) {
    std::vector<ComparisonTable> tables;
    const BenchShape *shape = nullptr;
    for (const BenchRow &row : report.rows) {
        if (!row.result->operations) {
            continue;
        }
        if (shape == nullptr || *shape != row.result->shape) {
            shape = &row.result->shape;
            ComparisonTable table;
            table.header = {shape_text(*shape) + ", ms"};
            for (const char *name : k_operation_names) {
                table.rows.push_back({name});
            }
            table.rows.push_back({"all, divided"});
            table.rows.push_back({"all, as timed"});
            tables.push_back(std::move(table));
        }
        ComparisonTable &table = tables.back();
        const OperationTimes &times = *row.result->operations;
        const double total = times.total();
        table.header.push_back(row.arm->name);
        for (size_t i = 0; i < k_n_operations; ++i) {
            table.rows[i].push_back(fmt::format("{:.2f} ({:.1f}%)", 1e3 * times.seconds[i],
                                                100 * times.seconds[i] / total));
        }
        table.rows[k_n_operations].push_back(fmt::format("{:.2f}", 1e3 * total));
        table.rows[k_n_operations + 1].push_back(
            fmt::format("{:.2f}", 1e3 * median(row.result->seconds)));
    }
    return tables;
}

std::string conditions(const BenchReport &report) {
    return fmt::format("{} {}, {}, {} threads, kernels {}, {} process{}; text: {}", report.model,
                       report.file_type, report.device, report.n_threads, report.kernels,
                       report.n_processes, report.n_processes > 1 ? "es" : "", report.text);
}

std::string report_text(const BenchReport &report, std::string (*text_of)(const ComparisonTable &),
                        const char *line_end) {
    ComparisonTable table;
    for (const BenchRow &row : report.rows) {
        add_row(cells_of(row, report), table);
    }
    std::string text = conditions(report) + line_end + text_of(table) + line_end + k_legend + "\n";
    const ComparisonTable memory = memory_table(report);
    if (!memory.rows.empty()) {
        text.append("\n").append(text_of(memory));
    }
    const ComparisonTable links = link_table(report);
    if (!links.rows.empty()) {
        text.append("\n").append(shares_text(report)).append(line_end).append(text_of(links));
    }
    if (report.peak) {
        text.append("\n").append(text_of(roofline_table(report)));
    }
    if (report.has_breakdown) {
        for (const ComparisonTable &breakdown : breakdown_tables(report)) {
            text.append("\n").append(text_of(breakdown));
        }
    }
    return text;
}

void add_ratio(const std::string &name, const BenchResult *base, const BenchResult &of,
               Cells &cells) {
    std::optional<SpeedRatio> ratio;
    if (base != nullptr) {
        ratio = speed_ratio(*base, of);
    }
    cells.emplace_back(name, ratio ? exact_text(ratio->median) : "");
    cells.emplace_back(name + "_q1", ratio ? exact_text(ratio->low) : "");
    cells.emplace_back(name + "_q3", ratio ? exact_text(ratio->high) : "");
}

void add_processes(const BenchRow &row, int n_processes, Cells &cells) {
    std::vector<double> ratios = {std::numeric_limits<double>::quiet_NaN()};
    if (row.dense != nullptr) {
        ratios = process_ratios(*row.dense, *row.result, n_processes);
    }
    cells.emplace_back("process_speed_up_min",
                       exact_text(*std::min_element(ratios.begin(), ratios.end())));
    cells.emplace_back("process_speed_up_max",
                       exact_text(*std::max_element(ratios.begin(), ratios.end())));
}

void add_memory(const BenchRow &row, const BenchReport &report, Cells &cells) {
    const BenchMemory memory = bench_memory(row, report);
    for (const auto &[name, bytes] : memory) {
        cells.emplace_back(name + "_bytes", bytes ? std::to_string(*bytes) : "");
    }
}

void add_link(const BenchRow &row, Cells &cells) {
    const std::optional<RpcTraffic> &traffic = row.result->facts.traffic;
    cells.emplace_back("rpc_bytes_sent", traffic ? std::to_string(traffic->sent) : "");
    cells.emplace_back("rpc_bytes_received", traffic ? std::to_string(traffic->received) : "");
    cells.emplace_back("bound_with_link", exact_text(bound_with_link(row)));
}

void add_quality(const PerplexityResult *quality, Cells &cells) {
    const std::pair<const char *, double PerplexityResult::*> columns[] = {
        {"ppl", &PerplexityResult::ppl},
        {"ppl_se", &PerplexityResult::se},
        {"ppl_ratio_to_dense", &PerplexityResult::ratio},
        {"ppl_ratio_se", &PerplexityResult::ratio_se}};
    for (const auto &[name, member] : columns) {
        cells.emplace_back(name, quality == nullptr ? "" : exact_text(quality->*member));
    }
}

Cells csv_cells(const BenchRow &row, const BenchReport &report) {
    const BenchResult &result = *row.result;
    const BenchShape &shape = result.shape;
    Cells cells = {
        {"arm", row.arm->name},
        {"model", report.model},
        {"file_type", report.file_type},
        {"weights", row.arm->is_libllama ? k_file_weights : report.weights},
        {"device", report.device},
        {"threads", std::to_string(report.n_threads)},
        {"processes", std::to_string(report.n_processes)},
        {"phase", phase_text(shape)},
        {"n_tokens", std::to_string(shape.n_tokens)},
        {"depth", std::to_string(shape.depth)},
        {"n_sequences", std::to_string(shape.n_sequences)},
        {"effective_sparsity", exact_text(row.arm->plan.effective_sparsity())},
        {"n_selecting_layers", std::to_string(row.arm->plan.layers_with(Action::select).size())},
        {"fraction_of_rows_computed", exact_text(result.facts.fraction_of_rows)},
        {"tokens_per_second", exact_text(result.tokens_per_second(median(result.seconds)))},
        {"seconds_median", exact_text(median(result.seconds))},
        {"seconds_mean", exact_text(mean(result.seconds))},
        {"spread", exact_text(relative_spread(result.seconds))}};
    add_memory(row, report, cells);
    add_ratio("speed_up_over_dense", row.dense, result, cells);
    add_ratio("speed_up_over_libllama", row.libllama, result, cells);
    cells.emplace_back("speed_up_bound", exact_text(row.bound));
    cells.emplace_back("time_bound", exact_text(row.time_bound));
    cells.emplace_back("predicted_seconds", exact_text(row.predicted_seconds));
    add_link(row, cells);
    const RooflinePoint point = roofline_point(row, report);
    cells.emplace_back("flops_per_second", exact_text(point.flops_per_second));
    cells.emplace_back("share_of_flops", exact_text(point.share_of_flops));
    cells.emplace_back("bytes_per_second", exact_text(point.bytes_per_second));
    cells.emplace_back("share_of_bytes", exact_text(point.share_of_bytes));
    add_processes(row, report.n_processes, cells);
    add_quality(row.quality, cells);
    for (size_t i = 0; i < k_n_operations; ++i) {
        cells.emplace_back(std::string(k_operation_names[i]) + "_seconds",
                           result.operations ? exact_text(result.operations->seconds[i]) : "");
    }
    return cells;
}

}  // namespace

std::string bench_table(const BenchReport &report) {
    return report_text(report, plain_text, "\n");
}

std::string bench_markdown(const BenchReport &report) {
    return report_text(report, markdown_text, "\n\n");
}

std::string bench_csv(const BenchReport &report) {
    ComparisonTable table;
    for (const BenchRow &row : report.rows) {
        add_row(csv_cells(row, report), table);
    }
    return csv_text(table);
}

}  // namespace orthorank
