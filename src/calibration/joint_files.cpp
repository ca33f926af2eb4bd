#include "calibration/joint_files.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "calibration/descriptions.h"
#include "calibration/kept_rows.h"
#include "calibration/partial_file.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

Json names_of(const std::vector<LayerPlan> &choices) {
    Json names = Json::array();
    for (const LayerPlan &choice : choices) {
        names.push_back(choice_text(choice));
    }
    return names;
}

// The policy of the choices that select; nothing when there are none.
std::optional<Policy> policy_of(const JointSettings &settings) {
    for (const LayerPlan &choice : settings.choices) {
        if (choice.action == Action::select) {
            return choice.policy;
        }
    }
    return {};
}

void describe(Json &json, const JointSettings &settings) {
    json["method"] = "joint";
    json["choices"] = names_of(settings.choices);
    const std::optional<Policy> policy = policy_of(settings);
    json["policy"] = "";
    if (policy) {
        describe_policy(json, *policy);
    }
    describe_inheritance(json, settings.inherits);
    json["rank"] = settings.correction.rank;
    json["ridge"] = settings.correction.ridge;
    if (settings.correction.attention_part > 0.0) {
        json["weigh"] = settings.correction.attention_part;
    }
    json[settings.by_time ? "saved_time" : "sparsity"] = settings.target;
    if (settings.by_time) {
        json["timed_rows"] = settings.calibration.at("seqlen").get<int>() - settings.n_continuation;
    }
    json["search"] = settings.brute_force ? "brute force" : "lazy";
    json["moves"] = settings.n_again;
    json["kl_windows"] = settings.n_kl_windows;
    describe_objective(json, settings.n_continuation, settings.keep_last);
}

Json key_of(const JointSettings &settings) {
    Json json;
    describe(json, settings);
    json["fingerprint"] = settings.fingerprint;
    json["file_type"] = settings.file_type;
    json["kv_type"] = settings.kv_type;
    json["kernels"] = settings.kernels;
    json["correction_type"] = settings.correction_type;
    json["device"] = settings.device;
    describe_windows(json, settings.calibration);
    return json;
}

Json savings_json(const JointSavings &savings) {
    Json json = Json::array();
    for (size_t i = 0; i < savings.choices.size(); ++i) {
        json.push_back(
            {{"choice", choice_text(savings.choices[i])}, {"saves", savings.savings[i]}});
    }
    return json;
}

double price_from(const Json &json) {
    return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}

// Reads what a file says, against what the settings allow.
class Reader {
 public:
    Reader(const JointSettings &settings, const Json &json) : settings_(settings), json_(json) {}

    JointState state() {
        read_savings();
        JointOrder &order = state_.order;
        order.n_layer_evaluations = json_.at("n_layer_evaluations").get<int64_t>();
        order.seconds = json_.at("seconds").get<double>();
        for (const Json &entry : json_.at("rounds")) {
            JointRound round;
            round.move = move_from(entry);
            round.divergence = entry.at("divergence").get<double>();
            round.saved = entry.at("saved").get<double>();
            round.n_measured = entry.at("n_measured").get<int>();
            order.rounds.push_back(round);
        }
        for (const Json &entry : json_.at("runners_up")) {
            order.runners_up.push_back(move_from(entry));
        }
        read_prices();
        return std::move(state_);
    }

 private:
    void read_savings() {
        JointSavings &savings = state_.savings;
        for (const Json &entry : json_.at("savings")) {
            const std::string name = entry.at("choice").get<std::string>();
            const auto found =
                std::find_if(settings_.choices.begin(), settings_.choices.end(),
                             [&](const LayerPlan &choice) { return choice_text(choice) == name; });
            savings.savings.push_back(entry.at("saves").get<double>());
            if (found == settings_.choices.end() || !(savings.savings.back() > 0.0)) {
                throw std::out_of_range("choices that are none");
            }
            savings.choices.push_back(*found);
        }
        if (savings.savings.empty() ||
            !std::is_sorted(savings.savings.begin(), savings.savings.end())) {
            throw std::out_of_range("choices out of order");
        }
    }

    JointMove move_from(const Json &entry) const {
        JointMove move;
        move.layer = entry.at("layer").get<int>();
        const std::string name = entry.at("choice").get<std::string>();
        for (size_t i = 0; i < state_.savings.choices.size(); ++i) {
            if (choice_text(state_.savings.choices[i]) == name) {
                move.choice = static_cast<int>(i);
            }
        }
        if (move.choice < 0 || move.layer < 1 || move.layer + 1 >= settings_.n_model_layers) {
            throw std::out_of_range(
                fmt::format("layer {} cannot become {} there", move.layer, name));
        }
        return move;
    }

    void read_prices() {
        const auto n_layers = static_cast<size_t>(settings_.n_model_layers - 2);
        for (const Json &row : json_.at("prices")) {
            std::vector<double> prices;
            for (const Json &price : row) {
                prices.push_back(price_from(price));
            }
            if (prices.size() != state_.savings.choices.size()) {
                throw std::out_of_range("another number of prices");
            }
            state_.order.prices.push_back(std::move(prices));
        }
        if (state_.order.prices.size() != n_layers) {
            throw std::out_of_range("prices of another number of layers");
        }
    }

    const JointSettings &settings_;
    const Json &json_;
    JointState state_;
};

JointSavings sorted(const std::vector<LayerPlan> &choices, const std::vector<double> &savings) {
    std::vector<size_t> order(choices.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return savings[a] < savings[b]; });
    JointSavings result;
    for (size_t i : order) {
        if (savings[i] > 0.0) {
            result.choices.push_back(choices[i]);
            result.savings.push_back(savings[i]);
        }
    }
    return result;
}

}  // namespace

LayerPlan choice_from_text(const std::string &text, const Policy &policy) {
    LayerPlan choice;
    if (text == "skip") {
        choice.action = Action::skip;
        return choice;
    }
    char *end = nullptr;
    choice.action = Action::select;
    choice.policy = policy;
    choice.ratio = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(choice.ratio >= 0.0 && choice.ratio < 1.0)) {
        fail(ErrorKind::usage,
             "'{}' is no choice for a layer: say skip, or the part of the tokens that are "
             "computed, 0 to less than 1",
             text);
    }
    return choice;
}

std::string choice_text(const LayerPlan &choice) {
    return choice.action == Action::skip ? "skip" : fmt::format("{}", choice.ratio);
}

JointSavings savings_by_sparsity(std::vector<LayerPlan> choices, int n_layers) {
    std::vector<double> savings;
    for (const LayerPlan &choice : choices) {
        const double ratio = choice.action == Action::skip ? 0.0 : choice.ratio;
        savings.push_back((1.0 - ratio) / n_layers);
    }
    return sorted(choices, savings);
}

JointSavings savings_by_time(std::vector<LayerPlan> choices,
                             const std::vector<double> &choice_times, double dense_layer,
                             double prefill) {
    CHECK(choices.size() == choice_times.size() && prefill > 0.0);
    std::vector<double> savings;
    for (double time : choice_times) {
        savings.push_back((dense_layer - time) / prefill);
    }
    JointSavings result = sorted(choices, savings);
    if (result.choices.empty()) {
        fail(ErrorKind::limit, "no choice makes a layer faster than it is: it takes {:.3g} ms",
             dense_layer);
    }
    return result;
}

void write_joint_partial(const JointSettings &settings, const JointState &state,
                         const std::string &path) {
    Json json;
    json["savings"] = savings_json(state.savings);
    json["n_layer_evaluations"] = state.order.n_layer_evaluations;
    json["seconds"] = state.order.seconds;
    json["rounds"] = joint_order_json(state);
    json["prices"] = Json::array();
    for (const std::vector<double> &row : state.order.prices) {
        Json prices = Json::array();
        for (double price : row) {
            prices.push_back(json_number(price));
        }
        json["prices"].push_back(prices);
    }
    json["runners_up"] = Json::array();
    for (const JointMove &move : state.order.runners_up) {
        const auto choice = static_cast<size_t>(move.choice);
        json["runners_up"].push_back(
            {{"layer", move.layer}, {"choice", choice_text(state.savings.choices[choice])}});
    }
    write_partial_json(path, key_of(settings), json);
}

std::optional<JointState> read_joint_partial(const JointSettings &settings,
                                             const std::string &path) {
    const std::optional<Json> json = read_partial_json(path, key_of(settings));
    if (!json) {
        return {};
    }
    try {
        return Reader(settings, *json).state();
    } catch (const nlohmann::json::exception &error) {
        fail_no_partial(path, error.what());
    } catch (const std::out_of_range &error) {
        fail_no_partial(path, error.what());
    }
}

Json joint_provenance(const JointSettings &settings, const JointState &state,
                      double effective_sparsity) {
    Json json;
    describe(json, settings);
    json["effective_sparsity"] = effective_sparsity;
    json["saved"] = saved_by(state.order);
    json["calibration"] = settings.calibration;
    json["file_type"] = settings.file_type;
    json["kv_type"] = settings.kv_type;
    json["kernels"] = settings.kernels;
    json["date"] = today_utc();
    json["savings"] = savings_json(state.savings);
    json["rounds"] = joint_order_json(state);
    return json;
}

namespace {

[[noreturn]] void fail_no_rounds(const Plan &plan) {
    fail(ErrorKind::format,
         "{}: its provenance records no rounds of a joint search (\"policy\", \"rounds\" as "
         "select-layers --joint writes them)",
         plan.name);
}

// What the rounds' selecting layers pick rows by.
Policy recorded_policy(const Plan &plan) {
    const Json &json = plan.provenance;
    if (json.value("policy", Json("")) == "") {
        return Policy{};  // all choices remove
    }
    std::optional<Policy> policy = described_policy(json);
    if (!policy) {
        fail_no_rounds(plan);
    }
    return policy->score == ScoreKind::probe ? Policy{} : *policy;
}

// One round, done to the plan.
void repeat_round(Plan &plan, const Json &round, const Policy &policy) {
    const bool is_known = round.is_object() && round.contains("layer") &&
                          round.at("layer").is_number_unsigned() && round.contains("choice") &&
                          round.at("choice").is_string();
    if (!is_known || round.at("layer").get<uint64_t>() >= plan.layers.size()) {
        fail_no_rounds(plan);
    }
    try {
        plan.layers[round.at("layer").get<size_t>()] =
            choice_from_text(round.at("choice").get<std::string>(), policy);
    } catch (const Error &) {  // it would speak of what was typed
        fail_no_rounds(plan);
    }
}

}  // namespace

bool is_joint_plan(const Plan &plan) {
    return plan.provenance.is_object() && plan.provenance.value("method", Json("")) == "joint";
}

Plan plan_from_recorded_rounds(const Plan &from, double sparsity) {
    const Policy policy = recorded_policy(from);
    const Json rounds = from.provenance.value("rounds", Json());
    if (!rounds.is_array()) {
        fail_no_rounds(from);
    }
    const bool inherits = from.provenance.value("inherit", Json(false)) == true;
    Plan picking = from;  // every layer its own rows
    picking.losses.clear();
    picking.layers.assign(from.layers.size(), LayerPlan{});
    Plan plan = picking;
    for (size_t i = 0; i < rounds.size() && plan.effective_sparsity() < sparsity - 1e-9; ++i) {
        repeat_round(picking, rounds[i], policy);
        plan = inherits ? with_inherited_rows(picking) : picking;
    }
    if (plan.effective_sparsity() < sparsity - 1e-9) {
        fail(ErrorKind::usage,
             "{}: its search saved {:.1f}%, {:.1f}% was asked for: run select-layers --joint for "
             "as much",
             from.name, 100.0 * plan.effective_sparsity(), 100.0 * sparsity);
    }
    forget_costs(plan);
    for (const char *key : {"correction", "saved", "saved_time", "timed_rows"}) {
        plan.provenance.erase(key);
    }
    plan.provenance["sparsity"] = sparsity;
    plan.provenance["effective_sparsity"] = plan.effective_sparsity();
    return plan;
}

Json joint_order_json(const JointState &state) {
    Json json = Json::array();
    for (const JointRound &round : state.order.rounds) {
        const auto choice = static_cast<size_t>(round.move.choice);
        json.push_back({{"layer", round.move.layer},
                        {"choice", choice_text(state.savings.choices[choice])},
                        {"divergence", json_number(round.divergence)},
                        {"saved", round.saved},
                        {"n_measured", round.n_measured}});
    }
    return json;
}

}  // namespace orthorank
