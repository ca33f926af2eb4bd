#include <algorithm>
#include <initializer_list>
#include <limits>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/strict_json.h"
#include "select/json_part.h"
#include "select/plan.h"
#include "select/plan_format.h"

namespace orthorank {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t k_max_prompt_rows = 1 << 30;
constexpr int64_t k_max_rank = 65536;
constexpr size_t k_hash_digits = 16;
constexpr int64_t k_max_layers = 65536;  // a file must not make us allocate without bound

// Returns the version.
int64_t check_header(const JsonPart &file) {
    if (!file.json.is_object()) {
        fail(ErrorKind::format, "{}: a plan must be an object, found {}", file.where,
             text_of_value(file.json));
    }
    const std::string format = text_value(file, "format");
    if (format != k_plan_format) {
        fail(ErrorKind::format, "{}: not a plan: \"format\" is {}, expected \"{}\"", file.where,
             in_quotes(format), k_plan_format);
    }
    const int64_t version = integer_value(file, "version");
    if (version > k_prompt_version) {
        fail(ErrorKind::format, "{}: version {} is newer than this program reads ({})", file.where,
             version, k_prompt_version);
    }
    if (version < k_plain_version) {
        fail(ErrorKind::format, "{}: there is no version {} (this program reads {} to {})",
             file.where, version, k_plain_version, k_prompt_version);
    }
    return version;
}

Plan model_from_json(const JsonPart &model) {
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

Action action_value(const JsonPart &layer) {
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

double ratio_value(const JsonPart &layer) {
    return number_value(layer, "ratio", 0.0, 1.0, "a number from 0 to 1");
}

int64_t count_value(const JsonPart &part, const char *key, int64_t min, int64_t max) {
    const int64_t value = integer_value(part, key);
    if (value < min || value > max) {
        fail(ErrorKind::format, "{}: \"{}\" must be {} to {}, found {}", part.where, key, min, max,
             value);
    }
    return value;
}

// A key of one policy alone.
void check_goes_with(const JsonPart &layer, const char *key, const Policy &policy, ScoreKind kind,
                     const char *name) {
    if (policy.score != kind) {
        fail(ErrorKind::format, "{}: \"{}\" goes only with policy \"{}\", found \"{}\"",
             layer.where, key, name, policy_name(policy));
    }
}

Policy policy_value(const JsonPart &layer) {
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
        check_goes_with(layer, "seed", policy, ScoreKind::hash, "random");
        const Json &seed = layer.json.at("seed");
        const bool is_negative =
            seed.is_number_integer() && !seed.is_number_unsigned() && seed.get<int64_t>() < 0;
        if (!seed.is_number_integer() || is_negative) {
            fail_type(layer, "seed", "a whole number from 0 to 2^64 - 1");
        }
        policy.seed = seed.get<uint64_t>();
    }
    if (layer.has("window")) {
        check_goes_with(layer, "window", policy, ScoreKind::query, "query");
        policy.window = static_cast<int>(count_value(layer, "window", 1, k_max_prompt_rows));
    }
    return policy;
}

// What the JSON says of a layer, before its numbers are read.
struct LayerEntry {
    LayerPlan plan;
    int rank = -1;  // of the correction; -1: there is none
};

int rank_value(const JsonPart &layer) {
    const JsonPart correction = object_value(layer, "correction");
    check_keys(correction, {"rank"});
    const int64_t rank = integer_value(correction, "rank");
    if (rank < 0 || rank > k_max_rank) {
        fail(ErrorKind::format, "{}: \"rank\" must be 0 to {}, found {}", correction.where,
             k_max_rank, rank);
    }
    return static_cast<int>(rank);
}

// What a layer says that its plan's version does not know.
void check_version(const JsonPart &layer, const LayerEntry &entry, int64_t version) {
    const bool has_numbers = entry.rank >= 0 || entry.plan.policy.score == ScoreKind::probe;
    const bool is_late = needs_prompt_version(entry.plan.policy.score);
    const int64_t needed = is_late       ? k_prompt_version
                           : has_numbers ? k_numbers_version
                                         : k_plain_version;
    if (version < needed) {
        fail(ErrorKind::format, "{}: {} needs \"version\" {}, found {}", layer.where,
             entry.rank >= 0 && !is_late
                 ? "a correction"
                 : fmt::format("policy \"{}\"", policy_name(entry.plan.policy)),
             needed, version);
    }
}

LayerEntry layer_from_json(const JsonPart &layer) {
    check_keys(layer, {"index", "action", "ratio", "policy", "seed", "window", "correction"});
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
        result.policy = policy_value(layer);
        if (result.policy.score == ScoreKind::inherit) {
            if (layer.has("ratio")) {
                fail(ErrorKind::format,
                     "{}: \"ratio\" does not go with policy \"inherit\": it is that of the layer "
                     "before",
                     layer.where);
            }
            return entry;
        }
        result.ratio = ratio_value(layer);
        return entry;
    }
    for (const char *key : {"ratio", "policy", "seed", "window"}) {
        if (layer.has(key)) {
            fail(ErrorKind::format, "{}: \"{}\" goes only with action \"select\"", layer.where,
                 key);
        }
    }
    return entry;
}

// The hash of the numbers' file; empty: none is said.
std::string hash_value(const JsonPart &file) {
    const std::string hash = optional_text(file, "tensors_hash");
    const bool is_hex = hash.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (file.has("tensors_hash") && (hash.size() != k_hash_digits || !is_hex)) {
        fail_type(file, "tensors_hash", "16 hex digits");
    }
    return hash;
}

// Fills in corrections and probes; ranks: one per layer, -1 for none.
void read_numbers(const JsonPart &file, Plan &plan, const std::vector<int> &ranks,
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
std::vector<int> layers_from_json(const JsonPart &file, Plan &plan, int64_t version) {
    std::set<int64_t> seen;
    std::vector<int> ranks(plan.layers.size(), -1);
    for (JsonPart &layer : objects_value(file, "layers")) {
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
        check_version(layer, entry, version);
        ranks[static_cast<size_t>(index)] = entry.rank;
        plan.layers[static_cast<size_t>(index)] = std::move(entry.plan);
    }
    return ranks;
}

// Layers that inherit get the ratio of the layer whose rows they take.
void resolve_inherited(const JsonPart &file, Plan &plan) {
    for (int il : plan.layers_with(Action::select)) {
        LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        if (layer.policy.score != ScoreKind::inherit) {
            continue;
        }
        const int source = plan.inherited_from(il);
        if (source < 0) {
            fail(ErrorKind::format,
                 "{}: layer {}: policy \"inherit\" takes the rows of an earlier selecting layer, "
                 "and there is none",
                 file.where, il);
        }
        layer.ratio = plan.layers[static_cast<size_t>(source)].ratio;
    }
}

Apply apply_value(const JsonPart &file) {
    const std::string name = text_value(file, "apply");
    for (Apply apply : {Apply::prefill, Apply::decode, Apply::both}) {
        if (name == apply_name(apply)) {
            return apply;
        }
    }
    fail(ErrorKind::format, "{}: unknown \"apply\" {} (known: prefill, decode, both)", file.where,
         in_quotes(name));
}

PlanLoss loss_from_json(const JsonPart &part) {
    check_keys(part, {"text", "windows", "n_ctx", "continuation", "ratio", "se", "weights", "date",
                      "version"});
    constexpr int64_t k_most = INT32_MAX;
    constexpr double k_smallest = std::numeric_limits<double>::min();
    constexpr double k_largest = 1e300;
    PlanLoss loss;
    loss.text = text_value(part, "text");
    loss.n_windows = static_cast<int>(count_value(part, "windows", 1, k_most));
    loss.n_ctx = static_cast<int>(count_value(part, "n_ctx", 2, k_most));
    loss.n_continuation = static_cast<int>(count_value(part, "continuation", 0, loss.n_ctx - 1));
    loss.ratio = number_value(part, "ratio", k_smallest, k_largest, "a number above 0");
    loss.se = number_value(part, "se", 0.0, k_largest, "a number not below 0");
    loss.weights = optional_text(part, "weights");
    loss.date = optional_text(part, "date");
    loss.version = optional_text(part, "version");
    return loss;
}

// What only version 3 has.
void read_prompt_keys(const JsonPart &file, Plan &plan) {
    if (file.has("apply")) {
        plan.apply = apply_value(file);
    }
    if (file.has("keep_last")) {
        plan.keep_last = static_cast<int>(count_value(file, "keep_last", 0, k_max_prompt_rows));
        check_kept_rows(plan, ErrorKind::format, file.where);
    }
    if (file.has("measured")) {
        for (const JsonPart &entry : objects_value(file, "measured")) {
            plan.losses.push_back(loss_from_json(entry));
        }
    }
}

}  // namespace

Plan plan_from_json(const Json &json, const std::string &name, const OpenPlanNumbers &open) {
    const JsonPart file{json, name};
    // First: a newer version may well have other keys.
    const int64_t version = check_header(file);
    if (version == k_plain_version) {
        check_keys(file, {"format", "version", "model", "layers", "provenance"});
    } else if (version == k_numbers_version) {
        check_keys(file, {"format", "version", "tensors", "tensors_hash", "model", "layers",
                          "provenance"});
    } else {
        check_keys(file, {"format", "version", "tensors", "tensors_hash", "apply", "keep_last",
                          "model", "layers", "measured", "provenance"});
    }
    Plan plan = model_from_json(object_value(file, "model"));
    plan.name = name;
    const std::vector<int> ranks = layers_from_json(file, plan, version);
    resolve_inherited(file, plan);
    read_prompt_keys(file, plan);
    if (file.has("provenance")) {
        plan.provenance = object_value(file, "provenance").json;
    }
    read_numbers(file, plan, ranks, open);
    return plan;
}

}  // namespace orthorank
