// What a table or figure needs to be measured, and of which plans. Plain data.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace orthorank {

// Of a plan, in the order in which they are done.
enum class Measure { perplexity, choices, truthful, longbench, speed, text };

struct Needs {
    std::set<std::pair<Measure, std::string>> measures;
    bool sweep = false;     // one layer changed (Figures 4 and 13)
    bool analysis = false;  // of a dense pass
    bool trace = false;     // which rows a plan picks

    void add(Measure measure, const std::string &plan) { measures.emplace(measure, plan); }
    void add(const Needs &others) {
        measures.insert(others.measures.begin(), others.measures.end());
        sweep = sweep || others.sweep;
        analysis = analysis || others.analysis;
        trace = trace || others.trace;
    }
    // Of any plan.
    bool has(Measure measure) const {
        for (const auto &[of, plan] : measures) {
            if (of == measure) {
                return true;
            }
        }
        return false;
    }
    std::set<std::string> plans() const {
        std::set<std::string> names;
        for (const auto &[of, plan] : measures) {
            names.insert(plan);
        }
        return names;
    }
};

}  // namespace orthorank
