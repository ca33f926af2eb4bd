#include <algorithm>
#include <initializer_list>
#include <set>
#include <string_view>

#include "base/error.h"
#include "select/plan.h"
#include "select/plan_text.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char *k_format = "orthorank-plan";
constexpr int64_t k_plain_version = 1;    // neither corrections nor probes
constexpr int64_t k_numbers_version = 2;  // with them
constexpr int64_t k_max_rank = 65536;
constexpr size_t k_hash_digits = 16;
constexpr int64_t k_max_layers = 65536;  // a file must not make us allocate without bound

// A JSON object together with the words that name it in messages, such as
// "plans/x.json: layer 13".
struct Part {
    const Json &json;
    std::string where;

    bool has(const char *key) const { return json.contains(key); }
};

// A short JSON text of a value that is not what it should be.
std::string shown(const Json &value) {
    if (value.is_string()) {
        return in_quotes(value.get_ref<const std::string &>());
    }
    if (value.is_object()) {
        return "an object";
    }
    if (value.is_array()) {
        return "a list";
    }
    return value.is_number_float() && !(value.get<double>() == value.get<double>()) ? "NaN"
                                                                                    : value.dump();
}

void check_keys(const Part &part, std::initializer_list<std::string_view> known) {
    for (const auto &[key, value] : part.json.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            fail(ErrorKind::format, "{}: unknown key {} (known: {})", part.where, in_quotes(key),
                 fmt::join(known, ", "));
        }
    }
}

[[noreturn]] void fail_type(const Part &part, const char *key, const char *expected) {
    fail(ErrorKind::format, "{}: \"{}\" must be {}, found {}", part.where, key, expected,
         shown(part.json.at(key)));
}

void check_present(const Part &part, const char *key) {
    if (!part.has(key)) {
        fail(ErrorKind::format, "{}: \"{}\" is missing", part.where, key);
    }
}

std::string text_value(const Part &part, const char *key) {
    check_present(part, key);
    const Json &value = part.json.at(key);
    if (!value.is_string()) {
        fail_type(part, key, "a string");
    }
    return value.get<std::string>();
}

std::string optional_text(const Part &part, const char *key) {
    return part.has(key) ? text_value(part, key) : std::string();
}

int64_t integer_value(const Part &part, const char *key) {
    check_present(part, key);
    const Json &value = part.json.at(key);
    const bool is_too_large = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
    if (!value.is_number_integer() || is_too_large) {
        fail_type(part, key, "a whole number");
    }
    return value.get<int64_t>();
}

Part object_value(const Part &part, const char *key) {
    check_present(part, key);
    if (!part.json.at(key).is_object()) {
        fail_type(part, key, "an object");
    }
    return {part.json.at(key), fmt::format("{}: {}", part.where, key)};
}

// Returns the version.
int64_t check_header(const Part &file) {
    if (!file.json.is_object()) {
        fail(ErrorKind::format, "{}: a plan must be an object, found {}", file.where,
             shown(file.json));
    }
    const std::string format = text_value(file, "format");
    if (format != k_format) {
        fail(ErrorKind::format, "{}: not a plan: \"format\" is {}, expected \"{}\"", file.where,
             in_quotes(format), k_format);
    }
    const int64_t version = integer_value(file, "version");
    if (version > k_numbers_version) {
        fail(ErrorKind::format, "{}: version {} is newer than this program reads ({})", file.where,
             version, k_numbers_version);
    }
    if (version < k_plain_version) {
        fail(ErrorKind::format, "{}: there is no version {} (this program reads {} and {})",
             file.where, version, k_plain_version, k_numbers_version);
    }
    return version;
}

Plan model_from_json(const Part &model) {
    check_keys(model, {"name", "n_layers", "fingerprint"});
    const int64_t n_layers = integer_value(model, "n_layers");
    if (n_layers < 1 || n_layers > k_max_layers) {
        fail(ErrorKind::format, "{}: \"n_layers\" must be 1 to {}, found {}", model.where,
             k_max_layers, n_layers);
    }
    Plan plan = dense_plan(static_cast<int>(n_layers));
    plan.model_name = optional_text(model, "name");
    plan.fingerprint = optional_text(model, "fingerprint");
    return plan;
}

Action action_value(const Part &layer) {
    const std::string action = text_value(layer, "action");
    if (action == "dense") {
        return Action::dense;
    }
    if (action == "skip") {
        return Action::skip;
    }
    if (action == "select") {
        return Action::select;
    }
    fail(ErrorKind::format, "{}: unknown action {} (known: dense, skip, select)", layer.where,
         in_quotes(action));
}

double ratio_value(const Part &layer) {
    check_present(layer, "ratio");
    const Json &value = layer.json.at("ratio");
    if (!value.is_number()) {
        fail_type(layer, "ratio", "a number from 0 to 1");
    }
    const double ratio = value.get<double>();
    if (!(ratio >= 0.0 && ratio <= 1.0)) {  // NaN too
        fail_type(layer, "ratio", "a number from 0 to 1");
    }
    return ratio == 0.0 ? 0.0 : ratio;  // no -0
}

Policy policy_value(const Part &layer) {
    Policy policy;
    if (layer.has("policy")) {
        const std::string name = text_value(layer, "policy");
        const std::vector<std::string_view> known = policy_names();
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            fail(ErrorKind::format, "{}: unknown policy {} (known: {})", layer.where,
                 in_quotes(name), fmt::join(known, ", "));
        }
        policy = policy_from_name(name);
    }
    if (layer.has("seed")) {
        if (policy.score != ScoreKind::hash) {
            fail(ErrorKind::format, "{}: \"seed\" goes only with policy \"random\", found \"{}\"",
                 layer.where, policy_name(policy));
        }
        const Json &seed = layer.json.at("seed");
        const bool is_negative =
            seed.is_number_integer() && !seed.is_number_unsigned() && seed.get<int64_t>() < 0;
        if (!seed.is_number_integer() || is_negative) {
            fail_type(layer, "seed", "a whole number from 0 to 2^64 - 1");
        }
        policy.seed = seed.get<uint64_t>();
    }
    return policy;
}

// What the JSON says of a layer, before its numbers are read.
struct LayerEntry {
    LayerPlan plan;
    int rank = -1;  // of the correction; -1: there is none
};

int rank_value(const Part &layer) {
    const Part correction = object_value(layer, "correction");
    check_keys(correction, {"rank"});
    const int64_t rank = integer_value(correction, "rank");
    if (rank < 0 || rank > k_max_rank) {
        fail(ErrorKind::format, "{}: \"rank\" must be 0 to {}, found {}", correction.where,
             k_max_rank, rank);
    }
    return static_cast<int>(rank);
}

void check_version_1(const Part &layer, const LayerEntry &entry) {
    if (entry.rank >= 0 || entry.plan.policy.score == ScoreKind::probe) {
        fail(ErrorKind::format, "{}: {} needs \"version\" {}, found {}", layer.where,
             entry.rank >= 0 ? "a correction" : "policy \"probe\"", k_numbers_version,
             k_plain_version);
    }
}

LayerEntry layer_from_json(const Part &layer) {
    check_keys(layer, {"index", "action", "ratio", "policy", "seed", "correction"});
    LayerEntry entry;
    LayerPlan &result = entry.plan;
    result.action = action_value(layer);
    if (layer.has("correction")) {
        if (result.action == Action::dense) {
            fail(ErrorKind::format,
                 "{}: \"correction\" goes only with action \"select\" or \"skip\"", layer.where);
        }
        entry.rank = rank_value(layer);
    }
    if (result.action == Action::select) {
        result.ratio = ratio_value(layer);
        result.policy = policy_value(layer);
        return entry;
    }
    for (const char *key : {"ratio", "policy", "seed"}) {
        if (layer.has(key)) {
            fail(ErrorKind::format, "{}: \"{}\" goes only with action \"select\"", layer.where,
                 key);
        }
    }
    return entry;
}

// The hash of the numbers' file; empty: none is said.
std::string hash_value(const Part &file) {
    const std::string hash = optional_text(file, "tensors_hash");
    const bool is_hex = hash.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (file.has("tensors_hash") && (hash.size() != k_hash_digits || !is_hex)) {
        fail_type(file, "tensors_hash", "16 hex digits");
    }
    return hash;
}

// Fills in corrections and probes; ranks: one per layer, -1 for none.
void read_numbers(const Part &file, Plan &plan, const std::vector<int> &ranks,
                  const OpenPlanNumbers &open) {
    const PlanTensors tensors = {optional_text(file, "tensors"), hash_value(file)};
    std::unique_ptr<PlanNumbers> numbers;
    for (int il = 0; il < plan.n_layers(); ++il) {
        LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        const int rank = ranks[static_cast<size_t>(il)];
        const bool has_probe =
            layer.action == Action::select && layer.policy.score == ScoreKind::probe;
        if (rank < 0 && !has_probe) {
            continue;
        }
        if (numbers == nullptr) {
            if (!open) {
                fail(ErrorKind::format,
                     "{}: layer {} has a {}, whose numbers cannot be given here: it takes a plan "
                     "file",
                     file.where, il, rank >= 0 ? "correction" : "probe");
            }
            numbers = open(plan, tensors);
        }
        if (rank >= 0) {
            layer.correction = numbers->correction(il, rank);
        }
        if (has_probe) {
            layer.probe = numbers->probe(il);
        }
    }
}

// Returns the corrections' ranks, one per layer, -1 for none.
std::vector<int> layers_from_json(const Part &file, Plan &plan, int64_t version) {
    check_present(file, "layers");
    const Json &entries = file.json.at("layers");
    if (!entries.is_array()) {
        fail_type(file, "layers", "a list");
    }
    std::set<int64_t> seen;
    std::vector<int> ranks(plan.layers.size(), -1);
    for (size_t i = 0; i < entries.size(); ++i) {
        Part layer{entries[i], fmt::format("{}: layers[{}]", file.where, i)};
        if (!layer.json.is_object()) {
            fail(ErrorKind::format, "{}: must be an object, found {}", layer.where,
                 shown(layer.json));
        }
        const int64_t index = integer_value(layer, "index");
        layer.where = fmt::format("{}: layer {}", file.where, index);
        if (index < 0 || index >= plan.n_layers()) {
            fail(ErrorKind::format, "{}: model has {} layers (made for another model?)",
                 layer.where, plan.n_layers());
        }
        if (!seen.insert(index).second) {
            fail(ErrorKind::format, "{}: listed twice", layer.where);
        }
        LayerEntry entry = layer_from_json(layer);
        if (version == k_plain_version) {
            check_version_1(layer, entry);
        }
        ranks[static_cast<size_t>(index)] = entry.rank;
        plan.layers[static_cast<size_t>(index)] = std::move(entry.plan);
    }
    return ranks;
}

Json layer_to_json(int il, const LayerPlan &layer) {
    Json json = {{"index", il}};
    const auto add_correction = [&] {
        if (layer.correction != nullptr) {
            json["correction"] = {{"rank", layer.correction->rank}};
        }
    };
    if (layer.action == Action::skip) {
        json["action"] = "skip";
        add_correction();
        return json;
    }
    json["action"] = "select";
    json["ratio"] = layer.ratio;
    json["policy"] = policy_name(layer.policy);
    if (layer.policy.score == ScoreKind::hash) {
        json["seed"] = layer.policy.seed;
    }
    add_correction();
    return json;
}

}  // namespace

Plan plan_from_json(const Json &json, const std::string &name, const OpenPlanNumbers &open) {
    const Part file{json, name};
    // First: a newer version may well have other keys.
    const int64_t version = check_header(file);
    if (version == k_plain_version) {
        check_keys(file, {"format", "version", "model", "layers", "provenance"});
    } else {
        check_keys(file, {"format", "version", "tensors", "tensors_hash", "model", "layers",
                          "provenance"});
    }
    Plan plan = model_from_json(object_value(file, "model"));
    plan.name = name;
    const std::vector<int> ranks = layers_from_json(file, plan, version);
    if (file.has("provenance")) {
        plan.provenance = object_value(file, "provenance").json;
    }
    read_numbers(file, plan, ranks, open);
    return plan;
}

Json plan_to_json(const Plan &plan, const PlanTensors &tensors) {
    Json model = Json::object();
    if (!plan.model_name.empty()) {
        model["name"] = plan.model_name;
    }
    model["n_layers"] = plan.n_layers();
    if (!plan.fingerprint.empty()) {
        model["fingerprint"] = plan.fingerprint;
    }
    Json layers = Json::array();
    for (int il = 0; il < plan.n_layers(); ++il) {
        if (plan.layers[il].action != Action::dense) {
            layers.push_back(layer_to_json(il, plan.layers[il]));
        }
    }
    const bool has_numbers = plan.has_numbers();
    Json json = {{"format", k_format},
                 {"version", has_numbers ? k_numbers_version : k_plain_version}};
    if (has_numbers && !tensors.file.empty()) {
        json["tensors"] = tensors.file;
    }
    if (has_numbers && !tensors.hash.empty()) {
        json["tensors_hash"] = tensors.hash;
    }
    json["model"] = std::move(model);
    json["layers"] = std::move(layers);
    if (!plan.provenance.is_null()) {
        CHECK(plan.provenance.is_object());
        json["provenance"] = plan.provenance;
    }
    return json;
}

}  // namespace orthorank
