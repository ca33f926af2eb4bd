#include "report/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "report/heat_map.h"
#include "report/page.h"
#include "report/sphere.h"
#include "report/svg.h"
#include "support/markup.h"

namespace orthorank::test {
namespace {

using testing::AllOf;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr double k_nan = std::numeric_limits<double>::quiet_NaN();

// What hovering over marks of this kind shows.
std::vector<std::string> hovers(const std::string &svg, const std::string &name) {
    std::vector<std::string> texts;
    for (const MarkupElement &element : read_markup(svg)) {
        if (element.name == "title" && element.parent == name) {
            texts.push_back(element.text);
        }
    }
    return texts;
}

std::vector<std::string> texts_of(const std::string &svg) {
    std::vector<std::string> texts;
    for (const MarkupElement &text : elements_named(read_markup(svg), "text")) {
        texts.push_back(text.text);
    }
    return texts;
}

TEST(Axis, TicksAreRoundAndWithinTheAxis) {
    EXPECT_THAT(round_ticks(0, 1, 5),
                ElementsAre(0, DoubleNear(0.2, 1e-9), DoubleNear(0.4, 1e-9), DoubleNear(0.6, 1e-9),
                            DoubleNear(0.8, 1e-9), DoubleNear(1, 1e-9)));
    EXPECT_THAT(round_ticks(-29, 31, 6), ElementsAre(-20, -10, 0, 10, 20, 30));
    Axis axis;
    axis.is_log = true;
    const Scale scale = make_scale(axis, std::vector<double>{0.02, 70, -1, k_nan});
    EXPECT_THAT(scale.ticks,
                ElementsAre(DoubleNear(0.1, 1e-12), DoubleNear(1, 1e-12), DoubleNear(10, 1e-12)));
    EXPECT_FALSE(scale.holds(0));
    EXPECT_FALSE(scale.holds(k_nan));
    EXPECT_NEAR(scale.part(std::sqrt(scale.low * scale.high)), 0.5, 1e-9);
}

TEST(Axis, NothingToDrawIsStillAnAxis) {
    const Scale scale = make_scale({}, std::vector<double>{k_nan});
    EXPECT_LT(scale.low, scale.high);
    EXPECT_THAT(scale.ticks, Not(IsEmpty()));
}

TEST(Plot, LinesLeaveOutWhatIsNoNumber) {
    LinePlot plot;
    plot.title = "a < b & c";
    plot.x.ticks = {1, 10, 100};
    plot.x.is_log = true;
    plot.lines.push_back(
        {.name = "line", .x = {1, 10, 100}, .y = {1, k_nan, 2}, .is_dashed = true});
    const std::string svg = line_plot_svg(plot);
    EXPECT_TRUE(is_sound_svg(svg));
    EXPECT_THAT(svg, AllOf(HasSubstr("a &lt; b &amp; c"), HasSubstr("stroke-dasharray")));
    EXPECT_EQ(elements_named(read_markup(svg), "circle").size(), 2u);
    // On a logarithmic axis 10 lies in the middle of 1 and 100, from 80 to 740.
    EXPECT_THAT(svg, HasSubstr("<text x=\"410.0\""));
}

TEST(Plot, PointsHaveTheirValuesUnitsAndWhiskers) {
    LinePlot plot;
    plot.title = "loss";
    plot.x.label = "layer";
    plot.y = {.label = "perplexity", .is_log = true};
    plot.lines.push_back({.name = "ours",
                          .x = {3, 4},
                          .y = {20, 40},
                          .has_line = false,
                          .low = {18, 30},
                          .high = {22, 50}});
    plot.shades.push_back({3.5, 9, "behind l_sink"});
    const std::string svg = line_plot_svg(plot);
    EXPECT_TRUE(is_sound_svg(svg));
    EXPECT_THAT(hovers(svg, "circle"), ElementsAre("ours: layer 3, perplexity 20 (18 to 22)",
                                                   "ours: layer 4, perplexity 40 (30 to 50)"));
    EXPECT_THAT(hovers(svg, "rect"), ElementsAre("behind l_sink"));
    EXPECT_THAT(elements_named(read_markup(svg), "polyline"), IsEmpty());
    EXPECT_THAT(texts_of(svg), testing::IsSupersetOf({"loss", "layer", "perplexity", "ours"}));
}

// Long names go to further lines of the legend, and what has no room at all is cut.
TEST(Plot, TextStaysInItsBox) {
    LinePlot plot;
    plot.title = std::string(300, 't');
    plot.x.label = std::string(300, 'x');
    plot.y.label = std::string(300, 'y');
    for (size_t i = 0; i < 12; ++i) {
        plot.lines.push_back({.name = std::string(10 + 20 * i, 'n'),
                              .x = {0, 1e9},
                              .y = {-1e-7, 1.23456e-7},
                              .colour = i});
    }
    const std::string svg = line_plot_svg(plot);
    EXPECT_TRUE(is_sound_svg(svg));
    EXPECT_THAT(hovers(svg, "text"), testing::Contains(plot.title));
}

TEST(Plot, BarsAreAsLongAsTheirValues) {
    BarPlot plot;
    plot.title = "speed";
    plot.label = "times dense";
    plot.mark_names = {"bound"};
    plot.bars.push_back({"plan", 1.0, 0.9, 1.1, {2.0}, 0});
    plot.bars.push_back({"nothing", k_nan, k_nan, k_nan, {k_nan}, 1});
    const std::string svg = bar_plot_svg(plot);
    EXPECT_TRUE(is_sound_svg(svg));
    // 360 pixels for the largest, the mark at 2.
    EXPECT_THAT(svg,
                AllOf(HasSubstr("width=\"180.0\""), HasSubstr("<line x1=\"690.0\" x2=\"690.0\"")));
    EXPECT_THAT(hovers(svg, "rect"), ElementsAre("plan: 1 (0.9 to 1.1)"));
    EXPECT_THAT(hovers(svg, "line"), ElementsAre("plan, bound: 2"));
}

TEST(HeatMap, EveryCellHasItsValueAndColour) {
    HeatMap map;
    map.title = "cosines";
    map.x_label = "layer";
    map.y_label = "to layer";
    map.value_label = "cosine";
    map.n_columns = map.n_rows = 2;
    map.values = {0, 1, 0.5, k_nan};
    map.low = 0;
    map.high = 1;
    map.box_from = 1;
    map.marks = {CellMark::none, CellMark::dot, CellMark::ring, CellMark::cross};
    map.hovers = {"", "the sink", "", ""};
    const std::string svg = heat_map_svg(map);
    EXPECT_TRUE(is_sound_svg(svg));
    EXPECT_THAT(
        hovers(svg, "rect"),
        ElementsAre("to layer 0, layer 0: cosine 0", "to layer 0, layer 1: cosine 1\nthe sink",
                    "to layer 1, layer 0: cosine 0.5", "to layer 1, layer 1: cosine none"));
    EXPECT_THAT(svg, AllOf(HasSubstr(sequential_colour(0)), HasSubstr(sequential_colour(1))));
    EXPECT_EQ(elements_named(read_markup(svg), "circle").size(), 1u);
    for (const MarkupElement &element : read_markup(svg)) {
        if (element.name == "circle" || element.name == "ellipse" || element.name == "line") {
            EXPECT_EQ(element.attributes.at("pointer-events"), "none") << "the cell is pointed at";
        }
    }
    // No colour has eight digits: some readers of SVG take it for black.
    for (const MarkupElement &rect : elements_named(read_markup(svg), "rect")) {
        EXPECT_THAT(rect.attributes.at("fill").size(), testing::AnyOf(4u, 7u));  // or "none"
    }
}

TEST(HeatMap, ManyLayersAndLongNamesStayInTheBox) {
    HeatMap map;
    map.title = "many";
    map.x_label = "layer";
    map.y_label = "token";
    map.value_label = "a rather long unit of the score";
    map.n_columns = 126;
    map.n_rows = 64;
    map.values.assign(map.n_columns * map.n_rows, 1.0);
    for (size_t row = 0; row < map.n_rows; ++row) {
        map.row_names.push_back(std::to_string(row) + " \"a token that is longer than most\"");
    }
    EXPECT_TRUE(is_sound_svg(heat_map_svg(map)));
}

TEST(HeatMap, StripsHaveTheColumnsInTurnAndOneScale) {
    HeatMap map;
    map.title = "strips";
    map.x_label = "token";
    map.y_label = "layer";
    map.value_label = "score";
    map.n_columns = 7;
    map.n_rows = 2;
    map.cell_side = 16;
    map.has_upright_names = true;
    for (size_t i = 0; i < 14; ++i) {
        map.values.push_back(static_cast<double>(i));
        map.hovers.push_back("cell " + std::to_string(i));
    }
    for (size_t i = 0; i < 7; ++i) {
        map.column_names.push_back("a rather long name " + std::to_string(i));
    }
    const std::vector<HeatMap> strips = strips_of(map, 3);
    ASSERT_EQ(strips.size(), 3u);
    EXPECT_THAT(strips[1].values, ElementsAre(3, 4, 5, 10, 11, 12));
    EXPECT_THAT(strips[2].hovers, ElementsAre("cell 6", "cell 13"));
    EXPECT_THAT(strips[2].column_names, ElementsAre("a rather long name 6"));
    EXPECT_TRUE(strips[0].marks.empty());
    for (const HeatMap &strip : strips) {
        EXPECT_EQ(strip.low, 0);
        EXPECT_EQ(strip.high, 13);
        const std::string svg = heat_map_svg(strip);
        EXPECT_TRUE(is_sound_svg(svg));
        for (const std::string &name : strip.column_names) {
            EXPECT_THAT(svg, HasSubstr("<title>" + name + "</title>")) << "cut, and whole there";
        }
    }
}

TEST(Svg, ColoursEndWhereTheirScalesDo) {
    EXPECT_EQ(sequential_colour(0), "#440154");
    EXPECT_EQ(sequential_colour(1), "#fde725");
    EXPECT_EQ(sequential_colour(7), sequential_colour(1));
    EXPECT_EQ(diverging_colour(0.5), "#f7f7f7");
    EXPECT_NE(series_colour(0), series_colour(1));
}

TEST(Sphere, TheVectorsHaveTheGivenAngles) {
    SphereDrawing drawing;
    drawing.title = "layer 5";
    drawing.names = {"row 0", "row 1", "row 10"};
    drawing.cosines = {0.2, -0.4, 0.7};
    const auto v = vectors_of(drawing);
    const auto product = [&](size_t a, size_t b) {
        return v[a][0] * v[b][0] + v[a][1] * v[b][1] + v[a][2] * v[b][2];
    };
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(product(i, i), 1, 1e-12);
    }
    EXPECT_NEAR(product(0, 1), 0.2, 1e-12);
    EXPECT_NEAR(product(0, 2), -0.4, 1e-12);
    EXPECT_NEAR(product(1, 2), 0.7, 1e-12);
    const std::string svg = sphere_svg(drawing);
    EXPECT_TRUE(is_sound_svg(svg));
    EXPECT_THAT(texts_of(svg), testing::IsSupersetOf(drawing.names)) << "none is cut";
    drawing.cosines = {1, 1, 1};  // all the same direction
    EXPECT_TRUE(is_sound_svg(sphere_svg(drawing)));
}

TEST(Page, HtmlHasEverythingInsideAndMarkdownNamesTheFiles) {
    Page page("a <b>");
    page.heading("Figures & tables");
    page.text("Some \"text\".");
    page.command("orthorank analyze -m M");
    page.table({{"layer", "loss"}, {{"0", "1 < 2"}}});
    HeatMap map;
    map.n_columns = map.n_rows = 1;
    map.values = {1};
    page.figure(heat_map_svg(map), "a map", "map.svg");
    const std::string html = page.html();
    const std::vector<MarkupElement> elements = read_markup(html);
    EXPECT_EQ(elements_named(elements, "h1").front().text, "a <b>");
    EXPECT_EQ(elements_named(elements, "svg").size(), 1u);
    EXPECT_EQ(elements_named(elements, "td").back().text, "1 < 2");
    for (const char *loads : {"script", "link", "img", "iframe"}) {
        EXPECT_THAT(elements_named(elements, loads), IsEmpty());
    }
    EXPECT_THAT(html, Not(testing::ContainsRegex("(src|href)=|url\\(|@import")));
    EXPECT_THAT(page.markdown(),
                AllOf(HasSubstr("# a <b>\n"), HasSubstr("## Figures & tables\n"),
                      HasSubstr("    orthorank analyze -m M\n"), HasSubstr("![a map](map.svg)")));
}

}  // namespace
}  // namespace orthorank::test
