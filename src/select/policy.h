// What makes a token worth computing in a selecting layer: the paper's criterion and every control
// of its Tables 5 and 6. A policy is plain data in three parts: the score that the graph computes
// (one float per row), the order in which scores are picked, and whose K and V exist. Values are
// copied freely; nothing here knows of models or graphs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// The float that a graph computes for row i; a is the row after the layer's attention norm (with
// its learned weight), h the row before it, 0 the sink (position 0 of the sequence).
enum class ScoreKind {
    inner,      // <a_0, a_i>; its absolute value is the score (Algorithm 1)
    inner_raw,  // <h_0, h_i>, likewise (Table 5, "raw")
    cosine,     // <a_0, a_i> / (|a_0| |a_i|), likewise (Equation 3)
    norm,       // |a_i|
    attention,  // attention received: sum over heads and queries of the probabilities (Table 6)
    probe,      // <w, a_i>, w fitted on calibration text (select/correction.h); no absolute value
    // Attention received from the prompt's last rows alone (SPTS, arXiv 2601.13155).
    query,
    // The norm of what attention adds to row i (DASH, arXiv 2604.18103).
    attention_output,
    hash,     // nothing: a hash of (seed, layer, position), made on the host
    inherit,  // nothing: the rows of the nearest earlier selecting layer
};

enum class PickOrder { smallest, largest };

enum class KvScope {
    all,       // all rows produce K and V
    selected,  // queries see the K and V of selected rows only (Table 5, "no KV")
};

constexpr int k_default_query_window = 32;

struct Policy {
    ScoreKind score = ScoreKind::inner;
    PickOrder order = PickOrder::smallest;
    KvScope kv = KvScope::all;
    uint64_t seed = 0;  // ScoreKind::hash only
    int window = 0;     // ScoreKind::query only: the last rows whose attention counts, 1 or more

    bool operator==(const Policy &) const = default;
};

// The names used in plan files: orthogonal, orthogonal-reverse, orthogonal-raw, orthogonal-no-kv,
// random, norm-up, norm-down, attention-up, query, attention-output, cosine, probe, inherit.
std::vector<std::string_view> policy_names();

// The policy of that name (seed 0; query: window k_default_query_window). Throws Error{usage} that
// lists the known names.
Policy policy_from_name(std::string_view name);

// The inverse of policy_from_name; seed and window are not part of the name.
std::string_view policy_name(const Policy &policy);

// Is the score what a row gets from later ones? Then it is there when the whole prompt is, in one
// pass from position 0, and decoded tokens have none.
bool needs_whole_prompt(ScoreKind kind);

// The score of ScoreKind::hash: uniform in [0, 1), a splitmix64 hash.
float hash_score(uint64_t seed, int il, int64_t position);

}  // namespace orthorank
