#include "select/plan.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/output_file.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "base/utf8.h"
#include "select/plan_format.h"
#include "select/plan_text.h"

namespace orthorank {
namespace {

constexpr uint64_t k_max_plan_bytes = 16u << 20;

std::string file_name(const std::string &path) {
    return std::filesystem::path(path).filename().string();
}

void add_to_hash(Fnv1a &hash, const std::vector<float> &values) {
    hash.bytes(values.data(), values.size() * sizeof(float));
}

Plan without_selection(Plan plan) {
    for (LayerPlan &layer : plan.layers) {
        if (layer.action == Action::select) {
            layer = LayerPlan{};
        }
    }
    return plan;
}

std::string hash_of_numbers(const Plan &plan) {
    Fnv1a hash;
    for (const LayerPlan &layer : plan.layers) {
        if (layer.correction != nullptr) {
            add_to_hash(hash, layer.correction->down);
            add_to_hash(hash, layer.correction->up);
            add_to_hash(hash, layer.correction->bias);
        }
        if (layer.probe != nullptr) {
            add_to_hash(hash, layer.probe->weight);
        }
    }
    return hash.hex();
}

template <typename T>
bool same(const std::shared_ptr<const T> &a, const std::shared_ptr<const T> &b) {
    return a == b || (a != nullptr && b != nullptr && *a == *b);
}

}  // namespace

Apply apply_from_name(const std::string &name) {
    for (Apply apply : {Apply::prefill, Apply::decode, Apply::both}) {
        if (name == apply_name(apply)) {
            return apply;
        }
    }
    fail(ErrorKind::usage, "unknown apply mode '{}' (known: prefill, decode, both)", name);
}

const char *apply_name(Apply apply) {
    switch (apply) {
        case Apply::prefill:
            return "prefill";
        case Apply::decode:
            return "decode";
        case Apply::both:
            return "both";
    }
    return "both";
}

bool LayerPlan::operator==(const LayerPlan &other) const {
    return action == other.action && ratio == other.ratio && policy == other.policy &&
           same(correction, other.correction) && same(probe, other.probe);
}

bool Plan::is_dense() const {
    for (const LayerPlan &layer : layers) {
        if (layer.action != Action::dense) {
            return false;
        }
    }
    return true;
}

std::vector<int> Plan::layers_with(Action action) const {
    std::vector<int> indices;
    for (int il = 0; il < n_layers(); ++il) {
        if (layers[il].action == action) {
            indices.push_back(il);
        }
    }
    return indices;
}

double Plan::effective_sparsity() const {
    if (layers.empty()) {
        return 0.0;
    }
    double saved = 0.0;
    for (const LayerPlan &layer : layers) {
        if (layer.action == Action::skip) {
            saved += 1.0;
        } else if (layer.action == Action::select) {
            saved += 1.0 - layer.ratio;
        }
    }
    return saved / n_layers();
}

int Plan::inherited_from(int il) const {
    int source = il - 1;
    while (source >= 0 && layers[static_cast<size_t>(source)].action != Action::select) {
        --source;
    }
    return source;
}

Plan with_inherited_rows(Plan plan) {
    const LayerPlan *first = nullptr;
    for (LayerPlan &layer : plan.layers) {
        if (layer.action != Action::select) {
            continue;
        }
        if (first == nullptr) {
            first = &layer;
            continue;
        }
        layer.policy = policy_from_name("inherit");
        layer.ratio = first->ratio;
        layer.probe = nullptr;
    }
    return plan;
}

Plan dense_plan(int n_layers) {
    CHECK(n_layers >= 0);
    Plan plan;
    plan.name = "dense";
    plan.layers.resize(n_layers);
    return plan;
}

Plan plan_in_prefill(const Plan &plan) {
    return plan.apply == Apply::decode ? without_selection(plan) : plan;
}

Plan plan_in_decode(const Plan &plan) {
    return plan.apply == Apply::prefill ? without_selection(plan) : plan;
}

bool Plan::needs_whole_prompt() const {
    return std::any_of(layers.begin(), layers.end(), [](const LayerPlan &layer) {
        return layer.action == Action::select && orthorank::needs_whole_prompt(layer.policy.score);
    });
}

bool Plan::has_numbers() const {
    return std::any_of(layers.begin(), layers.end(), [](const LayerPlan &layer) {
        return layer.correction != nullptr || layer.probe != nullptr;
    });
}

nlohmann::ordered_json plan_identity(const Plan &plan) {
    nlohmann::ordered_json layers = plan_to_json(plan)["layers"];
    const bool is_everywhere = plan.apply == Apply::both && plan.keep_last == 0;
    if (plan.is_dense() || (!plan.has_numbers() && is_everywhere)) {
        return layers;
    }
    nlohmann::ordered_json identity = {{"layers", std::move(layers)}};
    if (plan.has_numbers()) {
        identity["numbers"] = hash_of_numbers(plan);
    }
    if (plan.apply != Apply::both) {
        identity["apply"] = apply_name(plan.apply);
    }
    if (plan.keep_last > 0) {
        identity["keep_last"] = plan.keep_last;
    }
    return identity;
}

Plan read_plan(const std::string &path, const OpenPlanNumbers &open) {
    const std::string text = read_text_file(path, k_max_plan_bytes);
    Plan plan = plan_from_json(parse_json(text, path), path, open);
    plan.name = as_utf8(file_name(path));
    return plan;
}

void check_kept_rows(const Plan &plan, ErrorKind kind, const std::string &who) {
    if (plan.keep_last > 0 && plan.apply == Apply::decode) {
        fail(
            kind,
            "{}: \"keep_last\" does nothing with \"apply\" \"decode\": it keeps rows of the prompt",
            who);
    }
}

void write_plan(const Plan &plan, const std::string &path, const PlanTensors &tensors) {
    check_kept_rows(plan, ErrorKind::usage, path);
    write_file_atomically(path, plan_text(plan_to_json(plan, tensors)));
}

namespace {

// Of a correction, else of a probe; 0: it has neither.
int width_of_numbers(const LayerPlan &layer) {
    if (layer.correction != nullptr) {
        return layer.correction->n_embd;
    }
    return layer.probe != nullptr ? static_cast<int>(layer.probe->weight.size()) : 0;
}

}  // namespace

void check_plan_fits(const Plan &plan, int n_layers, int n_embd, const std::string &fingerprint,
                     const std::string &model_name) {
    const auto described = [](const std::string &name) {
        return name.empty() ? std::string() : fmt::format(" ({})", in_quotes(name));
    };
    if (plan.n_layers() != n_layers) {
        fail(ErrorKind::format, "{}: plan is for a model of {} layers{}, this model has {}{}",
             plan.name, plan.n_layers(), described(plan.model_name), n_layers,
             described(model_name));
    }
    if (!plan.fingerprint.empty() && !fingerprint.empty() && plan.fingerprint != fingerprint) {
        fail(ErrorKind::format,
             "{}: plan is for the model with fingerprint {}{}, this model's is {}{} "
             "(remove \"fingerprint\" from the plan to use it all the same)",
             plan.name, in_quotes(plan.fingerprint), described(plan.model_name),
             in_quotes(fingerprint), described(model_name));
    }
    for (int il = 0; il < n_layers; ++il) {
        const int width = width_of_numbers(plan.layers[static_cast<size_t>(il)]);
        if (width != 0 && width != n_embd) {
            fail(ErrorKind::format,
                 "{}, layer {}: the plan's correction or probe is for a model of width {}, this "
                 "model{} has {}",
                 plan.name, il, width, described(model_name), n_embd);
        }
    }
}

}  // namespace orthorank
