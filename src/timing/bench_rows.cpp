// From results to rows, and rows as JSON.
#include <algorithm>

#include "base/error.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "graph/kv_cache.h"
#include "model/backend_info.h"
#include "report/json_text.h"
#include "report/result_frame.h"
#include "timing/bench_report.h"
#include "timing/bounds.h"

namespace orthorank {

namespace {

// The dense arm's prefill of the fewest tokens in all sequences.
const BenchResult *smallest_dense_prefill(std::span<const BenchResult> results, size_t dense_arm) {
    const auto n_tokens = [](const BenchResult &result) {
        return static_cast<int64_t>(result.shape.n_tokens) * result.shape.n_sequences;
    };
    const BenchResult *smallest = nullptr;
    for (const BenchResult &result : results) {
        if (result.arm == dense_arm && result.shape.phase == Phase::prefill &&
            (smallest == nullptr || n_tokens(result) < n_tokens(*smallest))) {
            smallest = &result;
        }
    }
    return smallest;
}

// Arithmetic of a prefill under a plan over that of a dense one.
double prefill_growth(const Model &model, const Plan &plan, const BenchShape &of,
                      const BenchShape &base) {
    const ModelShape shape = model_shape(model);
    return of.n_sequences *
           prefill_flops(shape, plan_in_prefill(plan), of.n_tokens, HeadRows::last_read) /
           (base.n_sequences *
            prefill_flops(shape, dense_plan(shape.n_layers()), base.n_tokens, HeadRows::last_read));
}

void add_bounds(const EngineOptions &engine, const Model &model,
                std::span<const BenchResult> results, BenchRow &row) {
    const BenchResult &result = *row.result;
    DecodeFacts facts;
    facts.layer_fractions = result.facts.layer_fractions;
    facts.kv_element = kv_element_bytes(engine.kv_type);
    facts.correction_element = engine.correction_type == CorrectionType::f32 ? 4.0 : 2.0;
    if (row.arm->is_libllama) {
        facts.layer_fractions.assign(row.arm->plan.layers.size(), 1.0);
    }
    row.flops = shape_flops(model, row.arm->plan, result.shape);
    row.bytes = shape_bytes(model, row.arm->plan, result.shape, facts);
    if (row.arm->is_libllama) {
        return;
    }
    row.bound = speed_up_bound(model, row.arm->plan, result.shape, facts);
    if (row.dense == nullptr) {
        return;
    }
    if (row.dense->operations) {
        row.time_bound =
            time_bound(model, row.arm->plan, result.shape, facts, *row.dense->operations);
    }
    if (result.shape.phase == Phase::prefill) {
        const BenchResult *base = smallest_dense_prefill(results, row.dense->arm);
        row.predicted_seconds =
            median(base->seconds) * prefill_growth(model, row.arm->plan, result.shape, base->shape);
    }
}

nlohmann::ordered_json ratio_json(const BenchResult *base, const BenchResult &of) {
    if (base == nullptr) {
        return nullptr;
    }
    const SpeedRatio ratio = speed_ratio(*base, of);
    return {{"median", ratio.median}, {"q1", ratio.low}, {"q3", ratio.high}};
}

nlohmann::ordered_json memory_json(const BenchRow &row, const BenchReport &report) {
    nlohmann::ordered_json json;
    for (const auto &[name, bytes] : bench_memory(row, report)) {
        json[name] = optional_json(bytes);
    }
    return json;
}

void read_memory(const nlohmann::ordered_json &json, BenchResult &result) {
    if (!json.at("peak_resident").is_null()) {
        result.peak_resident_bytes = json.at("peak_resident").get<int64_t>();
    }
    if (json.at("memory").is_null()) {
        return;
    }
    result.facts.memory.emplace();
    Engine::MemoryUse &use = *result.facts.memory;
    use.kv_bytes = json.at("kv_cache");
    use.hidden_bytes = json.at("hidden_states");
    use.compute_bytes = json.at("compute_buffers");
    use.correction_bytes = json.at("corrections");
}

double link_seconds(const RpcTraffic &traffic) {
    return static_cast<double>(traffic.sent + traffic.received) / k_gigabit;
}

nlohmann::ordered_json traffic_json(const std::optional<RpcTraffic> &traffic) {
    if (!traffic) {
        return nullptr;
    }
    return {{"sent", traffic->sent}, {"received", traffic->received}};
}

nlohmann::ordered_json quality_json(const PerplexityResult *quality) {
    if (quality == nullptr) {
        return nullptr;
    }
    return {{"ppl", quality->ppl},
            {"se", quality->se},
            {"ratio_to_dense", quality->ratio},
            {"ratio_se", quality->ratio_se},
            {"n_windows", quality->window_nlls.size()}};
}

nlohmann::ordered_json operations_json(const std::optional<OperationTimes> &times) {
    if (!times) {
        return nullptr;
    }
    nlohmann::ordered_json json;
    for (size_t i = 0; i < k_n_operations; ++i) {
        json[k_operation_names[i]] = times->seconds[i];
    }
    return json;
}

std::vector<BenchRow> rows_of(const Model &model, const BenchStudy &study,
                              std::span<const BenchResult> results,
                              std::span<const PerplexityResult> quality) {
    const std::vector<NamedArm> &arms = study.arms;
    std::vector<BenchRow> rows;
    for (size_t i = 0; i < results.size(); ++i) {
        const size_t first = i / arms.size() * arms.size();
        BenchRow row;
        row.result = &results[i];
        row.arm = &arms[results[i].arm];
        size_t n_plans = 0;  // that are not dense, before this arm
        for (size_t j = 0; j < arms.size(); ++j) {
            if (arms[j].is_libllama) {
                row.libllama = &results[first + j];
            } else if (arms[j].plan.is_dense()) {
                row.dense = &results[first + j];
            } else if (j < results[i].arm) {
                ++n_plans;
            }
        }
        add_bounds(study.engine, model, results, row);
        if (!row.arm->is_libllama && !quality.empty()) {
            row.quality = &quality[row.arm->plan.is_dense() ? 0 : 1 + n_plans];
        }
        rows.push_back(row);
    }
    return rows;
}

std::string text_description(const BenchText &text, std::span<const BenchShape> shapes) {
    std::string description = fmt::format("{}, {} tokens", text.source, text.tokens.size());
    for (const BenchShape &shape : shapes) {
        const auto n =
            static_cast<size_t>(tokens_needed(shape)) * static_cast<size_t>(shape.n_sequences);
        if (n > text.tokens.size()) {
            return fmt::format("{}: too few for {}, whose sequences overlap", description,
                               shape_text(shape));
        }
    }
    return description;
}

}  // namespace

BenchReport bench_report(const Model &model, const BenchStudy &study, const BenchText &text,
                         std::span<const BenchResult> results,
                         std::span<const PerplexityResult> quality) {
    BenchReport report;
    report.model = model.hparams().name;
    report.file_type = model.file_type();
    report.type_in_use = model.type_in_use();
    report.weights = model.weight_types().text();
    for (const auto &[buffer, bytes] : model.buffer_bytes()) {
        report.weight_bytes += bytes;
    }
    report.device = device_name(model);
    report.shares = model.shares();
    report.text = text_description(text, study.shapes);
    report.kernels = kernels_used(model, study.engine.kernels);
    report.n_threads = study.engine.n_threads > 0 ? study.engine.n_threads : default_n_threads();
    report.has_breakdown = study.has_breakdown;
    report.has_quality = !quality.empty();
    report.axis = scale_axis(study.shapes, study.arms);
    report.rows = rows_of(model, study, results, quality);
    return report;
}

int64_t bytes_beside_weights(const Engine::MemoryUse &use) {
    return use.kv_bytes + use.hidden_bytes + use.compute_bytes + use.correction_bytes;
}

BenchMemory bench_memory(const BenchRow &row, const BenchReport &report) {
    const std::optional<Engine::MemoryUse> &use = row.result->facts.memory;
    const auto part = [&](int64_t bytes) { return use ? std::optional(bytes) : std::nullopt; };
    const Engine::MemoryUse bytes = use.value_or(Engine::MemoryUse{});
    return {{"weights", part(report.weight_bytes)},
            {"kv_cache", part(bytes.kv_bytes)},
            {"hidden_states", part(bytes.hidden_bytes)},
            {"compute_buffers", part(bytes.compute_bytes)},
            {"corrections", part(bytes.correction_bytes)},
            {"memory", part(report.weight_bytes + bytes_beside_weights(bytes))},
            {"peak_resident", row.result->peak_resident_bytes}};
}

const char *phase_text(const BenchShape &shape) {
    return shape.takes_token ? "first token" : shape.phase == Phase::prefill ? "prefill" : "decode";
}

std::string shape_text(const BenchShape &shape) {
    std::string text = shape.takes_token ? fmt::format("first token after {}", shape.n_tokens)
                       : shape.phase == Phase::prefill
                           ? fmt::format("prefill {}", shape.n_tokens)
                           : fmt::format("decode {} @ {}", shape.n_tokens, shape.depth);
    return shape.n_sequences > 1 ? fmt::format("{} x {}", shape.n_sequences, text) : text;
}

double relative_spread(std::span<const double> seconds) {
    return (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / median(seconds);
}

std::vector<double> process_ratios(const BenchResult &base, const BenchResult &of,
                                   int n_processes) {
    const size_t n = of.seconds.size() / static_cast<size_t>(n_processes);
    std::vector<double> ratios;
    for (size_t first = 0; first < of.seconds.size(); first += n) {
        std::vector<double> of_process;
        for (size_t i = first; i < first + n; ++i) {
            of_process.push_back(base.seconds[i] / of.seconds[i]);
        }
        ratios.push_back(median(of_process));
    }
    return ratios;
}

std::optional<double> bound_with_link(const BenchRow &row) {
    const std::optional<double> bound = row.time_bound ? row.time_bound : row.bound;
    const std::optional<RpcTraffic> &traffic = row.result->facts.traffic;
    if (row.dense == nullptr || !bound || !traffic || !row.dense->facts.traffic) {
        return {};
    }
    const double seconds = median(row.dense->seconds);
    return (seconds + link_seconds(*row.dense->facts.traffic)) /
           (seconds / *bound + link_seconds(*traffic));
}

nlohmann::ordered_json bench_row_json(const BenchRow &row, const BenchReport &report) {
    const BenchResult &result = *row.result;
    nlohmann::ordered_json json;
    json["arm"] = row.arm->name;
    json["plan"] =
        row.arm->is_libllama ? nlohmann::ordered_json(nullptr) : plan_name_json(row.arm->plan);
    json["model"] = report.model;
    json["file_type"] = report.file_type;
    json["weights"] = row.arm->is_libllama ? k_file_weights : report.weights;
    json["device"] = report.device;
    json["threads"] = report.n_threads;
    json["phase"] = phase_text(result.shape);
    json["n_tokens"] = result.shape.n_tokens;
    json["depth"] = result.shape.depth;
    json["n_sequences"] = result.shape.n_sequences;
    json["effective_sparsity"] = row.arm->plan.effective_sparsity();
    json["n_selecting_layers"] = n_selecting_layers(row.arm->plan);
    json["fraction_of_rows_computed"] = result.facts.fraction_of_rows;
    json["fractions_by_layer"] = row.arm->is_libllama
                                     ? nlohmann::ordered_json(nullptr)
                                     : nlohmann::ordered_json(result.facts.layer_fractions);
    json["tokens_per_second"] = result.tokens_per_second(median(result.seconds));
    json["seconds_median"] = median(result.seconds);
    json["seconds_mean"] = mean(result.seconds);
    json["seconds_min"] = quantile(result.seconds, 0.0);
    json["seconds_max"] = quantile(result.seconds, 1.0);
    json["spread"] = relative_spread(result.seconds);
    json["speed_up_over_dense"] = ratio_json(row.dense, result);
    json["speed_up_over_libllama"] = ratio_json(row.libllama, result);
    json["speed_up_bound"] = optional_json(row.bound);
    json["time_bound"] = optional_json(row.time_bound);
    json["predicted_seconds"] = optional_json(row.predicted_seconds);
    const RooflinePoint point = roofline_point(row, report);
    json["flops_per_second"] = optional_json(point.flops_per_second);
    json["share_of_flops"] = optional_json(point.share_of_flops);
    json["bytes_per_second"] = optional_json(point.bytes_per_second);
    json["share_of_bytes"] = optional_json(point.share_of_bytes);
    json["process_speed_ups_over_dense"] =
        row.dense == nullptr
            ? nlohmann::ordered_json(nullptr)
            : nlohmann::ordered_json(process_ratios(*row.dense, result, report.n_processes));
    json["memory_bytes"] = memory_json(row, report);
    json["rpc_bytes"] = traffic_json(result.facts.traffic);
    json["bound_with_link"] = optional_json(bound_with_link(row));
    json["perplexity"] = quality_json(row.quality);
    json["operations"] = operations_json(result.operations);
    json["seconds"] = result.seconds;
    return json;
}

void read_bench_row(const nlohmann::ordered_json &json, BenchResult &result) {
    result.seconds = json.at("seconds").get<std::vector<double>>();
    result.facts.fraction_of_rows = json.at("fraction_of_rows_computed");
    const auto &fractions = json.at("fractions_by_layer");
    if (!fractions.is_null()) {
        result.facts.layer_fractions = fractions.get<std::vector<double>>();
    }
    read_memory(json.at("memory_bytes"), result);
    if (const auto &traffic = json.at("rpc_bytes"); !traffic.is_null()) {
        result.facts.traffic = RpcTraffic{traffic.at("sent"), traffic.at("received")};
    }
    const auto &operations = json.at("operations");
    if (operations.is_null()) {
        return;
    }
    result.operations.emplace();
    for (size_t i = 0; i < k_n_operations; ++i) {
        result.operations->seconds[i] = operations.at(k_operation_names[i]);
    }
}

}  // namespace orthorank
