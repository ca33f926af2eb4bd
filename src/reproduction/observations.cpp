#include "reproduction/observations.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "analysis/analysis_report.h"
#include "base/fnv1a.h"
#include "calibration/partial_file.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t k_traced_tokens = 40;
constexpr double k_none = std::numeric_limits<double>::quiet_NaN();

Json statement_json(const Statement &statement) {
    Json numbers = Json::array();
    for (const auto &[name, value] : statement.numbers) {
        numbers.push_back({name, json_number(value)});
    }
    return {{"name", statement.name},
            {"text", statement.text},
            {"holds", statement.holds ? Json(*statement.holds) : Json(nullptr)},
            {"numbers", numbers}};
}

Statement statement_from(const Json &json) {
    Statement statement;
    statement.name = json.at("name");
    statement.text = json.at("text");
    if (!json.at("holds").is_null()) {
        statement.holds = json.at("holds").get<bool>();
    }
    for (const Json &number : json.at("numbers")) {
        if (!number.at(1).is_null()) {
            statement.numbers.emplace_back(number.at(0), number.at(1));
        }
    }
    return statement;
}

Json analysis_json(Workshop &workshop, const OnFraction &on_fraction) {
    const std::vector<int32_t> &tokens = workshop.sources().analysis_text;
    const Model &model = workshop.model();
    workshop.drop_engine();
    EngineOptions engine_options = workshop.options().engine;
    engine_options.n_ctx = static_cast<int>(tokens.size());
    engine_options.chunk_rows = chunk_rows_for(model.hparams(), tokens.size());
    Engine engine(model, engine_options);
    TextStatesOptions options;
    options.kept_positions = figure_positions();
    options.on_progress = on_fraction;
    options.should_stop = workshop.options().should_stop;
    const Analysis analysis =
        make_analysis(text_states(engine, tokens, options), {}, model.hparams().name);
    Json json = {{"l_sink", analysis.sink.l_sink()},
                 {"statements", Json::array()},
                 {"figures", Json::array()}};
    for (const Statement &statement : analysis.statements) {
        json["statements"].push_back(statement_json(statement));
    }
    for (const Figure &figure : analysis.figures) {
        json["figures"].push_back({{"name", figure.name},
                                   {"caption", figure.caption},
                                   {"svg", figure.svg},
                                   {"header", figure.data.header},
                                   {"rows", figure.data.rows}});
    }
    return json;
}

std::string hash_of_tokens(const std::vector<int32_t> &tokens) {
    Windows windows;
    windows.n_ctx = static_cast<int>(tokens.size());
    windows.tokens = tokens;
    return hash_of(windows);
}

Json sweep_json(const LayerSweep &sweep) {
    Json curves = Json::array();
    for (const SweepCurve &curve : sweep.curves) {
        Json losses = Json::array();
        for (double loss : curve.losses) {
            losses.push_back(json_number(loss));
        }
        curves.push_back({{"name", curve.name}, {"losses", losses}});
    }
    return {{"dense_loss", sweep.dense_loss}, {"curves", curves}};
}

LayerSweep sweep_from(const Json &json) {
    LayerSweep sweep;
    sweep.dense_loss = json.at("dense_loss");
    for (const Json &curve : json.at("curves")) {
        SweepCurve &added = sweep.curves.emplace_back();
        added.name = curve.at("name");
        for (const Json &loss : curve.at("losses")) {
            added.losses.push_back(loss.is_null() ? k_none : loss.get<double>());
        }
    }
    return sweep;
}

std::string sweep_file(size_t window) {
    return fmt::format("sweep/{}.json", window);
}

}  // namespace

void observe_states(Workshop &workshop, const OnFraction &on_fraction) {
    if (workshop.sources().analysis_text.empty()) {
        return;
    }
    const Json found = workshop.kept("analysis.json",
                                     {{"tokens", hash_of_tokens(workshop.sources().analysis_text)}},
                                     [&] { return analysis_json(workshop, on_fraction); });
    AnalysisFindings &analysis = workshop.findings().analysis.emplace();
    analysis.l_sink = found.at("l_sink");
    for (const Json &statement : found.at("statements")) {
        analysis.statements.push_back(statement_from(statement));
    }
    for (const Json &figure : found.at("figures")) {
        analysis.figures.push_back(
            {figure.at("name"),
             figure.at("caption"),
             figure.at("svg"),
             {figure.at("header"),
              figure.at("rows").get<std::vector<std::vector<std::string>>>()}});
    }
}

void observe_sweep(Workshop &workshop, const OnFraction &on_fraction) {
    if (!workshop.sources().sweep) {
        return;
    }
    const Windows &windows = *workshop.sources().sweep;
    const auto n = static_cast<double>(windows.size());
    for (size_t w = 0; w < windows.size(); ++w) {
        Windows one;
        one.n_ctx = windows.n_ctx;
        one.tokens.assign(windows.window(w).begin(), windows.window(w).end());
        LayerSweepOptions options;
        options.on_progress = [&](double fraction) {
            on_fraction((static_cast<double>(w) + fraction) / n);
        };
        options.should_stop = workshop.options().should_stop;
        const Json found = workshop.kept(sweep_file(w), {{"window", hash_of(one)}}, [&] {
            return sweep_json(sweep_layers(workshop.engine(windows.n_ctx), one, options));
        });
        workshop.findings().sweeps.push_back(sweep_from(found));
    }
}

double part_of_sweep_kept(const Workshop &workshop) {
    if (!workshop.sources().sweep) {
        return 1;
    }
    const size_t n = workshop.sources().sweep->size();
    size_t n_kept = 0;
    std::error_code ignored;
    while (n_kept < n && std::filesystem::exists(workshop.file(sweep_file(n_kept)), ignored)) {
        ++n_kept;
    }
    return static_cast<double>(n_kept) / static_cast<double>(n);
}

void observe_rows(Workshop &workshop) {
    const std::vector<int32_t> &tokens = workshop.sources().analysis_text;
    if (tokens.empty()) {
        return;
    }
    const size_t n = std::min(k_traced_tokens, tokens.size());
    TraceOptions options;
    options.plan = workshop.plan("orthorank-20");
    workshop.findings().trace =
        trace(workshop.engine(static_cast<int>(n)), std::span(tokens).first(n), options);
}

LayerSweep mean_sweep(const std::vector<LayerSweep> &sweeps) {
    LayerSweep mean = sweeps.front();
    const auto n = static_cast<double>(sweeps.size());
    for (const LayerSweep &sweep : std::span(sweeps).subspan(1)) {
        mean.dense_loss += sweep.dense_loss;
        for (size_t c = 0; c < mean.curves.size(); ++c) {
            for (size_t il = 0; il < mean.curves[c].losses.size(); ++il) {
                mean.curves[c].losses[il] += sweep.curves[c].losses[il];
            }
        }
    }
    mean.dense_loss /= n;
    for (SweepCurve &curve : mean.curves) {
        for (double &loss : curve.losses) {
            loss /= n;
        }
    }
    return mean;
}

}  // namespace orthorank
