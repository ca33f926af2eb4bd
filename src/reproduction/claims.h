// Sentences of the paper as tests on what was measured here. Pure functions.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/scoring.h"
#include "reproduction/findings.h"

namespace orthorank {

enum class Outcome { holds, does_not_hold, within_noise, not_tested };

// A difference of n pairs that is further than this many standard errors from zero is rarely one of
// chance: Student's t, two sides, 5 in 100.
double noise_limit(size_t n);

struct Claim {
    std::string text;  // with what is compared
    Outcome outcome = Outcome::not_tested;
    // What must be above zero for the claim to hold, with its standard error, in this unit.
    std::optional<Estimate> difference;
    std::string unit;
    std::string reason;     // where it was not tested, or what else to know
    bool is_timed = false;  // another run of the same command may have another outcome
};

const char *outcome_name(Outcome outcome);

// holds: above zero by more than the noise; does not hold: below it by more. Without an error (one
// value) nothing is tested.
Claim tested_claim(std::string text, const std::optional<Estimate> &difference, std::string unit);

// The differences that claims are made of; nothing where one side was not measured. `better` minus
// `worse`, or the other way round where less is better; paired by window, document or record.
std::optional<Estimate> less_loss(const PlanFindings &better, const PlanFindings &worse);
// Means over tasks of the paired differences, each task counting the same.
std::optional<Estimate> higher_mean(const TaskValues &better, const TaskValues &worse);
std::optional<Estimate> higher_value(const TaskValues &better, const TaskValues &worse,
                                     const std::string &task);
// Of the logarithms of the speed-up over dense, repetition by repetition; unpaired, as each plan
// was timed beside the dense one of its own run.
std::optional<Estimate> faster(const SpeedPair &better, const SpeedPair &worse);
// Above the dense model's speed.
std::optional<Estimate> faster_than_dense(const SpeedPair &speed);

// The mean over all tasks; nothing without one.
std::optional<Estimate> mean_of(const TaskValues &values);
// exp of the mean, its error by the delta method.
std::optional<Estimate> perplexity_of(const PlanFindings &findings);
// The median of the speed-ups over dense.
std::optional<double> speed_up_of(const SpeedPair &speed);

}  // namespace orthorank
