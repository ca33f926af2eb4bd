// The arguments of `orthorank bench`, and the processes that it starts. Used by that command alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/apply_options.h"
#include "cli/shared_options.h"
#include "timing/bench_report.h"
#include "timing/bench_study.h"

namespace orthorank {

struct BenchOutputs {
    std::string json;
    std::string markdown;
    std::string csv;
    std::string svg;
    std::string scale_svg;
    std::string memory_svg;
};

struct BenchArguments {
    ModelArguments model;
    ApplyArguments apply;
    std::vector<std::string> arms = {"libllama", "dense"};
    BenchLengths lengths;
    int n_repetitions = 5;
    int n_warmups = 1;
    int n_processes = 1;
    bool has_breakdown = false;
    bool has_roofline = false;
    BenchTextSource text;
    QualityText quality;  // no file: not asked for
    BenchOutputs outputs;
};

struct Measured {
    std::vector<BenchResult> results;  // as bench() orders them
    nlohmann::ordered_json engine;     // as in every result; n_ctx: of the longest shape
};

// In fresh processes of this program, one after the other, each with the same arguments. Throws
// Error{device} when one fails.
Measured measure_in_processes(const BenchArguments &arguments, const BenchStudy &study,
                              const Argv &argv);

}  // namespace orthorank
