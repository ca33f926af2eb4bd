// How near each arm comes to what the machine does at most.
#include "base/statistics.h"
#include "report/json_text.h"
#include "timing/bench_report.h"

namespace orthorank {

namespace {

std::optional<double> over(std::optional<double> a, std::optional<double> b) {
    return a && b ? std::optional(*a / *b) : std::nullopt;
}

std::string giga_text(std::optional<double> a_second) {
    return a_second ? fmt::format("{:.1f}", *a_second * 1e-9) : "";
}

std::string share_text(std::optional<double> share) {
    return share ? fmt::format("{:.1f}%", 100 * *share) : "";
}

}  // namespace

RooflinePoint roofline_point(const BenchRow &row, const BenchReport &report) {
    const double seconds = median(row.result->seconds);
    RooflinePoint point;
    point.flops_per_second = over(row.flops, seconds);
    point.bytes_per_second = over(row.bytes, seconds);
    if (report.peak) {
        point.share_of_flops = over(point.flops_per_second, report.peak->flops_per_second);
        point.share_of_bytes = over(point.bytes_per_second, report.peak->bytes_per_second);
    }
    return point;
}

nlohmann::ordered_json peak_json(const std::optional<MachinePeak> &peak) {
    if (!peak) {
        return nullptr;
    }
    return {{"flops_per_second", optional_json(peak->flops_per_second)},
            {"bytes_per_second", peak->bytes_per_second}};
}

ComparisonTable roofline_table(const BenchReport &report) {
    ComparisonTable table;
    table.header = {"roofline", "shape", "GFLOP/s", "of the machine's", "GB/s", "of the machine's"};
    table.rows.push_back({"this machine", "", giga_text(report.peak->flops_per_second), "",
                          giga_text(report.peak->bytes_per_second), ""});
    for (const BenchRow &row : report.rows) {
        const RooflinePoint point = roofline_point(row, report);
        table.rows.push_back({row.arm->name, shape_text(row.result->shape),
                              giga_text(point.flops_per_second), share_text(point.share_of_flops),
                              giga_text(point.bytes_per_second), share_text(point.share_of_bytes)});
    }
    return table;
}

}  // namespace orthorank
