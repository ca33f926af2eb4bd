// plot < PLOT.json > PLOT.svg: curves as this project draws them (report/plot.h), for scripts:
// {"title", "x_label", "x_ticks": [...], "y_label", "lines": [{"name", "x": [...], "y": [...]}, ...]}.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/strict_json.h"
#include "report/plot.h"

namespace {

orthorank::LinePlot plot_of(const nlohmann::ordered_json &json) {
    orthorank::LinePlot plot;
    plot.title = json.at("title").get<std::string>();
    plot.x.label = json.at("x_label").get<std::string>();
    plot.x.ticks = json.at("x_ticks").get<std::vector<double>>();
    plot.y = {.label = json.at("y_label").get<std::string>(), .is_log = true};
    for (const nlohmann::ordered_json &entry : json.at("lines")) {
        orthorank::PlotLine line;
        line.name = entry.at("name").get<std::string>();
        line.x = entry.at("x").get<std::vector<double>>();
        line.y = entry.at("y").get<std::vector<double>>();
        line.y.resize(line.x.size());
        line.colour = plot.lines.size();
        plot.lines.push_back(line);
    }
    return plot;
}

}  // namespace

int main() {
    try {
        const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
        std::cout << orthorank::line_plot_svg(plot_of(orthorank::parse_json(text, "the plot")));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "plot: %s\n", error.what());
        return 1;
    }
    return 0;
}
