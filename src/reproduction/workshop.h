// What every part of a reproduction works with: the model, one engine at a time, the recipes, the
// texts, the folder where finished work is kept, and what has been found. One thread.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/engine.h"
#include "reproduction/findings.h"
#include "reproduction/recipes.h"
#include "reproduction/sources.h"

namespace orthorank {

// How far a piece of work is, 0 to 1. Throws Interrupted when asked to stop.
using OnFraction = std::function<void(double)>;

struct WorkshopOptions {
    std::string folder;               // of the results
    EngineOptions engine;             // context and sequences are those of the work at hand
    nlohmann::ordered_json identity;  // what every number depends on beside plan and data
    std::string kv_type;              // by name, for plans' provenance
    std::function<bool()> should_stop;
};

class Workshop {
 public:
    // Both must outlive it.
    Workshop(const Model &model, const Budget &budget, const WorkshopOptions &options);

    const Model &model() const { return model_; }
    const Budget &budget() const { return budget_; }
    const Recipes &recipes() const { return recipes_; }
    const WorkshopOptions &options() const { return options_; }
    Sources &sources() { return sources_; }
    const Sources &sources() const { return sources_; }
    Findings &findings() { return findings_; }
    const Findings &findings() const { return findings_; }

    // One for exactly these, so that numbers do not depend on what else is made.
    Engine &engine(int n_ctx, int n_sequences = 1);
    // Frees it: for whoever makes engines of its own.
    void drop_engine() { engine_.reset(); }

    // DIR/work/KEY/name, in a folder that is there; KEY is the hash of the identity and the budget.
    std::string file(const std::string &name) const;
    // Forgets all that is kept under this key.
    void forget() const;
    // The plan, which must be found.
    const Plan &plan(const std::string &name) const;
    void check_stop() const;

    // What `make` gave when it was called for this key, in this run or an earlier one: always as
    // it is read back from the file, so that both are equal to the bit.
    nlohmann::ordered_json kept(const std::string &name, const nlohmann::ordered_json &key,
                                const std::function<nlohmann::ordered_json()> &make) const;

 private:
    const Model &model_;
    Budget budget_;
    WorkshopOptions options_;
    Recipes recipes_;
    std::string key_;
    Sources sources_;
    Findings findings_;
    std::unique_ptr<Engine> engine_;
};

}  // namespace orthorank
