// A whole benchmark as a value: named arms on shapes with a text, and what their plans cost in
// quality. Whoever wants numbers of speed (a command, a server, a script of experiments) fills a
// BenchStudy, measures it and reports it (timing/bench_report.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "evaluation/perplexity.h"
#include "timing/bench.h"

namespace orthorank {

struct NamedArm {
    std::string name;
    Plan plan;  // dense for libllama
    bool is_libllama = false;
};

struct BenchStudy {
    std::vector<NamedArm> arms;
    std::vector<BenchShape> shapes;
    int n_repetitions = 5;
    int n_warmups = 1;
    bool has_breakdown = false;  // every arm is divided into operations, not the dense one alone
    EngineOptions engine;        // context and sequences are those of the shapes
};

// What is timed: every prompt length, every prompt length with its first token, every decode after
// every depth, for every number of sequences.
struct BenchLengths {
    std::vector<int> prefills;
    std::vector<int> first_tokens;  // prompt lengths
    std::vector<int> decodes;
    std::vector<int> depths = {0};
    std::vector<int> batches = {1};
};

// Batch by batch, in the order in which they run. Throws Error{usage} when there is none.
std::vector<BenchShape> bench_shapes(const BenchLengths &lengths);

// Tokens per sequence that the largest shape needs.
int context_of(std::span<const BenchShape> shapes);

// Where the tokens come from. Random ones are the paper's protocol.
struct BenchTextSource {
    std::string file;   // empty: the pages (*.md) of `pages_dir`, one after the other
    std::string field;  // of JSON Lines
    std::string pages_dir;
    bool is_random = false;
};

struct BenchText {
    std::string source;  // "documentation", "random tokens", or the file
    std::vector<int32_t> tokens;
};

// Throws Error{limit} for shapes that do not fit into the model's context or into the text, and
// Error{file} for a text that cannot be read.
BenchText bench_text(const BenchTextSource &source, const Model &model,
                     std::span<const BenchShape> shapes);

// Times it in this process, as bench() does and orders its results.
std::vector<BenchResult> measure(const Model &model, const BenchStudy &study, const BenchText &text,
                                 const OnBench &on_progress = {});

// Results of several processes that ran the same study, as one: their seconds lie one process after
// the other, operations are means. Not empty; all of the same shapes and arms.
std::vector<BenchResult> merge_processes(std::span<const std::vector<BenchResult>> processes);

// The first windows of a text.
struct QualityText {
    std::string file;
    std::string field;
    int n_windows = 4;
    int n_ctx = 2048;  // or the model's context, if that is smaller
};

// Perplexity of the dense plan, then of each arm's that is not dense. Throws Error{limit} for a
// text shorter than one window.
std::vector<PerplexityResult> measure_quality(const Model &model, const BenchStudy &study,
                                              const QualityText &text,
                                              const OnPerplexity &on_progress = {});

}  // namespace orthorank
