#include "calibration/selection_files.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "calibration/descriptions.h"
#include "calibration/kept_rows.h"
#include "calibration/partial_file.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

bool is_select(const LayerPlan &change) {
    return change.action == Action::select;
}

void describe_change(Json &json, const LayerPlan &change) {
    json["convert"] = is_select(change) ? "select" : "skip";
    if (is_select(change)) {
        json["ratio"] = change.ratio;
        describe_policy(json, change.policy);
    }
}

void describe_method(Json &json, const SelectionSettings &settings) {
    json["method"] = selection_method_name(settings.method);
    describe_change(json, settings.change);
    describe_inheritance(json, settings.inherits);
    if (settings.method == SelectionMethod::sleb) {
        json["search"] = settings.race ? "race" : "exact";
    } else {
        json["plus"] = settings.plus;
    }
    describe_objective(json, settings.n_continuation, settings.keep_last);
}

Json key_of(const SelectionSettings &settings) {
    Json json;
    describe_method(json, settings);
    json["fingerprint"] = settings.fingerprint;
    json["file_type"] = settings.file_type;
    json["kv_type"] = settings.kv_type;
    json["kernels"] = settings.kernels;
    json["device"] = settings.device;
    describe_windows(json, settings.calibration);
    return json;
}

double number_or_nan(const Json &json) {
    return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

const char *value_name(SelectionMethod method) {
    return method == SelectionMethod::shortened_taylor ? "score" : "loss";
}

Json order_json(const SelectionSettings &settings, const LayerOrder &order) {
    const bool is_score = settings.method == SelectionMethod::shortened_taylor;
    const double n = is_score ? 1.0 : settings.calibration.at("windows").get<double>();
    Json json = Json::array();
    for (const SelectionRound &round : order.rounds) {
        json.push_back(
            {{"layer", round.layer}, {value_name(settings.method), json_number(round.loss / n)}});
    }
    return json;
}

[[noreturn]] void fail_no_order(const Plan &plan) {
    fail(ErrorKind::format,
         "{}: its provenance records no order of layers (\"method\", \"convert\" and \"order\" as "
         "select-layers writes them)",
         plan.name);
}

// The layers of a recorded order, checked.
std::vector<int> recorded_order(const Plan &plan) {
    if (!plan.provenance.is_object() || !plan.provenance.contains("order") ||
        !plan.provenance.at("order").is_array()) {
        fail_no_order(plan);
    }
    std::vector<int> layers;
    std::set<int64_t> seen;
    for (const Json &entry : plan.provenance.at("order")) {
        if (!entry.is_object() || !entry.contains("layer") ||
            !entry.at("layer").is_number_integer()) {
            fail_no_order(plan);
        }
        const auto layer = entry.at("layer").get<int64_t>();
        if (layer < 0 || layer >= plan.n_layers() || !seen.insert(layer).second) {
            fail(ErrorKind::format, "{}: the recorded order names layer {} wrongly", plan.name,
                 layer);
        }
        layers.push_back(static_cast<int>(layer));
    }
    return layers;
}

Json race_json(const RaceMemory &race) {
    const auto numbers = [](const std::vector<double> &values) {
        Json list = Json::array();
        for (double value : values) {
            list.push_back(json_number(value));
        }
        return list;
    };
    Json growths = Json::array();
    for (const auto &[layer, values] : race.growths) {
        growths.push_back({{"layer", layer}, {"growths", numbers(values)}});
    }
    return {{"base_losses", numbers(race.base_losses)}, {"measured", growths}};
}

RaceMemory race_from_json(const Json &json, const SelectionSettings &settings) {
    RaceMemory race;
    race.base_losses = json.at("base_losses").get<std::vector<double>>();
    const auto n_windows = settings.calibration.at("windows").get<size_t>();
    if (race.base_losses.size() != n_windows) {
        throw std::out_of_range("not as many losses as windows");
    }
    for (const Json &entry : json.at("measured")) {
        std::vector<double> &growths = race.growths[entry.at("layer").get<int>()];
        for (const Json &growth : entry.at("growths")) {
            growths.push_back(growth.is_null() ? std::numeric_limits<double>::infinity()
                                               : growth.get<double>());
        }
        if (growths.empty() || growths.size() > n_windows) {
            throw std::out_of_range("a layer was measured on no window or on too many");
        }
    }
    return race;
}

LayerOrder order_from_json(const Json &json) {
    LayerOrder order;
    order.dense_loss = number_or_nan(json.at("dense_loss"));
    order.n_layer_evaluations = json.at("n_layer_evaluations").get<int64_t>();
    order.seconds = json.at("seconds").get<double>();
    for (const Json &entry : json.at("rounds")) {
        SelectionRound round;
        round.layer = entry.at("layer").get<int>();
        round.loss = number_or_nan(entry.at("loss"));
        round.candidates = entry.at("candidates").get<std::vector<int>>();
        for (const Json &loss : entry.at("losses")) {
            round.losses.push_back(number_or_nan(loss));
        }
        if (round.losses.size() != round.candidates.size()) {
            throw std::out_of_range("candidates and losses differ in number");
        }
        order.rounds.push_back(std::move(round));
    }
    return order;
}

// What is read from a file decides which layers are changed: they must be layers, once each.
void check_rounds(const SelectionSettings &settings, const LayerOrder &order,
                  const std::string &path) {
    const std::vector<int> eligible =
        eligible_layers(settings.method, settings.plus, settings.n_model_layers);
    std::set<int> left(eligible.begin(), eligible.end());
    for (const SelectionRound &round : order.rounds) {
        if (left.erase(round.layer) == 0) {
            fail(ErrorKind::format, "{}: layer {} cannot be chosen there; remove the file", path,
                 round.layer);
        }
    }
}

}  // namespace

Plan plan_of_order(const SelectionSettings &settings, const LayerOrder &order, int n_layers,
                   std::optional<double> sparsity, std::optional<double> plan_loss) {
    CHECK(static_cast<size_t>(n_layers) <= order.rounds.size());
    Plan plan = dense_plan(settings.n_model_layers);
    plan.model_name = settings.model_name;
    plan.fingerprint = settings.fingerprint;
    plan.keep_last = settings.keep_last;
    for (int i = 0; i < n_layers; ++i) {
        plan.layers[static_cast<size_t>(order.rounds[static_cast<size_t>(i)].layer)] =
            settings.change;
    }
    plan = settings.inherits ? with_inherited_rows(std::move(plan)) : plan;
    plan.apply =
        settings.n_continuation > 0 || plan.needs_whole_prompt() ? Apply::prefill : Apply::both;
    const double n_windows = settings.calibration.at("windows").get<double>();
    Json json;
    describe_method(json, settings);
    if (sparsity) {
        json["sparsity"] = *sparsity;
    }
    json["effective_sparsity"] = plan.effective_sparsity();
    json["calibration"] = settings.calibration;
    json["file_type"] = settings.file_type;
    json["kv_type"] = settings.kv_type;
    json["kernels"] = settings.kernels;
    json["date"] = today_utc();
    json["dense_loss"] = json_number(order.dense_loss / n_windows);
    if (plan_loss) {
        json["plan_loss"] = json_number(*plan_loss / n_windows);
    }
    json["order"] = order_json(settings, order);
    plan.provenance = std::move(json);
    return plan;
}

LayerPlan recorded_change(const Plan &plan) {
    const Json &json = plan.provenance;
    if (!json.is_object() || !json.contains("convert") || !json.at("convert").is_string()) {
        fail_no_order(plan);
    }
    LayerPlan change;
    change.action = Action::skip;
    if (json.at("convert") == "select") {
        change.action = Action::select;
        const std::optional<Policy> policy = described_policy(json);
        if (!policy || !json.contains("ratio") || !json.at("ratio").is_number()) {
            fail_no_order(plan);
        }
        change.ratio = json.at("ratio").get<double>();
        change.policy = *policy;
        if (!(change.ratio >= 0.0 && change.ratio <= 1.0)) {
            fail_no_order(plan);
        }
    }
    return change;
}

Plan plan_from_recorded_order(const Plan &from, int n_layers) {
    const std::vector<int> order = recorded_order(from);
    const LayerPlan change = recorded_change(from);
    if (n_layers < 1 || static_cast<size_t>(n_layers) > order.size()) {
        fail(ErrorKind::usage,
             "{}: its order has {} layers, {} were asked for: run select-layers "
             "for as many",
             from.name, order.size(), n_layers);
    }
    Plan plan = from;
    plan.losses.clear();
    for (LayerPlan &layer : plan.layers) {
        layer = LayerPlan{};
    }
    for (int i = 0; i < n_layers; ++i) {
        plan.layers[static_cast<size_t>(order[static_cast<size_t>(i)])] = change;
    }
    if (from.provenance.value("inherit", Json(false)) == true) {
        plan = with_inherited_rows(std::move(plan));
    }
    forget_costs(plan);
    plan.provenance.erase("correction");
    plan.provenance.erase("sparsity");
    plan.provenance["effective_sparsity"] = plan.effective_sparsity();
    return plan;
}

void record_corrections(Plan &plan, const CorrectionOptions &options,
                        const SelectionSettings &settings, const std::vector<RecordedFit> &fits) {
    if (!plan.provenance.is_object()) {
        plan.provenance = Json::object();
    }
    Json json = {{"rank", options.rank}, {"ridge", options.ridge}};
    if (options.attention_part > 0.0) {
        json["weigh"] = options.attention_part;
        json["continuation"] = settings.n_continuation;
    }
    json["calibration"] = settings.calibration;
    json["file_type"] = settings.file_type;
    json["kv_type"] = settings.kv_type;
    json["kernels"] = settings.kernels;
    json["date"] = today_utc();
    json["layers"] = Json::array();
    for (const RecordedFit &fit : fits) {
        Json layer = {{"layer", fit.layer}, {"explained", json_number(fit.explained)}};
        if (plan.layers[static_cast<size_t>(fit.layer)].probe != nullptr) {
            layer["r_squared"] = json_number(fit.r_squared);
        }
        json["layers"].push_back(layer);
    }
    plan.provenance["correction"] = std::move(json);
}

void write_partial(const SelectionSettings &settings, const LayerOrder &order,
                   const std::string &path) {
    Json json;
    json["dense_loss"] = json_number(order.dense_loss);
    json["n_layer_evaluations"] = order.n_layer_evaluations;
    json["seconds"] = order.seconds;
    json["rounds"] = Json::array();
    for (const SelectionRound &round : order.rounds) {
        Json losses = Json::array();
        for (double loss : round.losses) {
            losses.push_back(json_number(loss));
        }
        json["rounds"].push_back({{"layer", round.layer},
                                  {"loss", json_number(round.loss)},
                                  {"candidates", round.candidates},
                                  {"losses", losses}});
    }
    if (settings.race) {
        json["race"] = race_json(order.race);
    }
    write_partial_json(path, key_of(settings), json);
}

std::optional<LayerOrder> read_partial(const SelectionSettings &settings, const std::string &path) {
    const std::optional<Json> json = read_partial_json(path, key_of(settings));
    if (!json) {
        return {};
    }
    try {
        LayerOrder order = order_from_json(*json);
        if (settings.race) {
            order.race = race_from_json(json->at("race"), settings);
        }
        check_rounds(settings, order, path);
        return order;
    } catch (const nlohmann::json::exception &error) {
        fail_no_partial(path, error.what());
    } catch (const std::out_of_range &error) {
        fail_no_partial(path, error.what());
    }
}

}  // namespace orthorank
