// The parts that a forward pass's time is divided into. Plain values.
#pragma once

#include <array>
#include <cstddef>

namespace orthorank {

enum class Operation {
    embedding,
    norm,        // before K, V and Q; where there is a score it is read from its result
    kv,          // K and V projections, their rotation, writing them to the cache
    q_o,         // query and output projections, rotation of the queries
    attention,   // over the cache
    ffn,         // its norm and additions too
    gather,      // rows gathered, and scattered back
    score,       // one number a row for the policy
    pick,        // rows picked from the scores, on the host
    correction,  // of rows that are not computed
    head,        // final norm and output head
    other        // all else: building graphs, filling inputs, reading results
};

constexpr size_t k_n_operations = 12;
constexpr std::array<const char *, k_n_operations> k_operation_names = {
    "embedding", "norm",  "kv",   "q_o",        "attention", "ffn",
    "gather",    "score", "pick", "correction", "head",      "other"};

struct OperationTimes {
    std::array<double, k_n_operations> seconds{};

    double &operator[](Operation operation) { return seconds[static_cast<size_t>(operation)]; }
    double operator[](Operation operation) const { return seconds[static_cast<size_t>(operation)]; }
    double total() const {
        double sum = 0;
        for (double of_operation : seconds) {
            sum += of_operation;
        }
        return sum;
    }
};

}  // namespace orthorank
