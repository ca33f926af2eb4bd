#include "select/policy.h"

#include <array>

#include "base/error.h"
#include "base/mix64.h"

namespace orthorank {
namespace {

struct NamedPolicy {
    std::string_view name;
    Policy policy;
};

constexpr std::array<NamedPolicy, 13> k_policies = {{
    {"orthogonal", {ScoreKind::inner, PickOrder::smallest, KvScope::all, 0}},
    {"orthogonal-reverse", {ScoreKind::inner, PickOrder::largest, KvScope::all, 0}},
    {"orthogonal-raw", {ScoreKind::inner_raw, PickOrder::smallest, KvScope::all, 0}},
    {"orthogonal-no-kv", {ScoreKind::inner, PickOrder::smallest, KvScope::selected, 0}},
    {"random", {ScoreKind::hash, PickOrder::smallest, KvScope::all, 0}},
    {"norm-up", {ScoreKind::norm, PickOrder::largest, KvScope::all, 0}},
    {"norm-down", {ScoreKind::norm, PickOrder::smallest, KvScope::all, 0}},
    {"attention-up", {ScoreKind::attention, PickOrder::largest, KvScope::all, 0}},
    {"query", {ScoreKind::query, PickOrder::largest, KvScope::all, 0, k_default_query_window}},
    {"attention-output", {ScoreKind::attention_output, PickOrder::largest, KvScope::all, 0}},
    {"cosine", {ScoreKind::cosine, PickOrder::smallest, KvScope::all, 0}},
    {"probe", {ScoreKind::probe, PickOrder::largest, KvScope::all, 0}},
    {"inherit", {ScoreKind::inherit, PickOrder::largest, KvScope::all, 0}},
}};

}  // namespace

std::vector<std::string_view> policy_names() {
    std::vector<std::string_view> names;
    for (const NamedPolicy &known : k_policies) {
        names.push_back(known.name);
    }
    return names;
}

Policy policy_from_name(std::string_view name) {
    for (const NamedPolicy &known : k_policies) {
        if (known.name == name) {
            return known.policy;
        }
    }
    fail(ErrorKind::usage, "unknown policy \"{}\" (known: {})", name,
         fmt::join(policy_names(), ", "));
}

std::string_view policy_name(const Policy &policy) {
    for (const NamedPolicy &known : k_policies) {
        if (known.policy.score == policy.score && known.policy.order == policy.order &&
            known.policy.kv == policy.kv) {
            return known.name;
        }
    }
    throw InternalError("a policy without a name");
}

bool needs_whole_prompt(ScoreKind kind) {
    return kind == ScoreKind::attention || kind == ScoreKind::query;
}

float hash_score(uint64_t seed, int il, int64_t position) {
    const uint64_t z =
        mix64(seed * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(il) * 0xBF58476D1CE4E5B9u +
              static_cast<uint64_t>(position) * 0x94D049BB133111EBu + 0x2545F4914F6CDD1Du);
    return static_cast<float>(z >> 40) * 0x1p-24f;  // 24 bits: every value is a float
}

}  // namespace orthorank
