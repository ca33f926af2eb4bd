// plot < PLOT.json > PLOT.svg: curves as this project draws them (report/plot.h), for scripts:
// {"title", "x_label", "x_ticks": [...], "lines": [{"name", "x": [...], "y": [...]}, ...]}.
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "report/plot.h"

namespace {

orthorank::LinePlot plot_of(const nlohmann::json &json) {
    orthorank::LinePlot plot;
    plot.title = json.at("title");
    plot.x.label = json.at("x_label");
    plot.x.ticks = json.at("x_ticks").get<std::vector<double>>();
    plot.y = {.label = json.value("y_label", ""), .is_log = true};
    for (const nlohmann::json &entry : json.at("lines")) {
        orthorank::PlotLine line;
        line.name = entry.at("name");
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
        std::cout << orthorank::line_plot_svg(plot_of(nlohmann::json::parse(std::cin)));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "plot: %s\n", error.what());
        return 1;
    }
    return 0;
}
