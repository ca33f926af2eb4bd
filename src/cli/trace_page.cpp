#include "cli/trace_page.h"

#include <fmt/format.h>

#include "report/page.h"
#include "report/trace_map.h"

namespace orthorank {

namespace {

ComparisonTable layer_table(const TraceResult &result) {
    ComparisonTable table;
    for (const TraceLayer &layer : result.layers) {
        const LayerPlan &plan = result.plan.layers[static_cast<size_t>(layer.index)];
        add_row({{"layer", std::to_string(layer.index)},
                 {"policy", std::string(policy_name(plan.policy))},
                 {"ratio", fmt::format("{:g}", plan.ratio)},
                 {"computed", fmt::format("{} of {}", layer.rows.size(), layer.scores.size())},
                 {"the rest", plan.correction != nullptr ? "corrected" : "left as it is"}},
                table);
    }
    return table;
}

}  // namespace

std::string trace_page(const TraceResult &result, const std::string &command) {
    Page page("Trace of " + result.plan.name);
    page.command(command);
    page.text(trace_map_legend(result));
    for (std::string &drawing : trace_maps(result)) {
        page.figure(std::move(drawing), "");
    }
    page.table(layer_table(result));
    return page.html();
}

}  // namespace orthorank
