// Engines, plans and passes in a few words, for tests of whatever runs a model. One thread, small
// contexts; the models of tests/fixtures/models are loaded once per program.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "model/model.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {

// tests/fixtures/<name>
std::string fixture_path(const std::string &name);
// tests/fixtures/models/<name>.gguf
const Model &fixture_model(const std::string &name);
// The names of all of them.
std::vector<std::string> fixture_model_names();
// Three that differ most: grouped queries, experts, q/k norms with NEOX rotation.
std::vector<std::string> main_fixture_models();
// A test's name made of a model's: letters, digits and _.
std::string test_name(std::string name);

// On the CPU, read into memory: the file may go away.
std::unique_ptr<Model> load_on_cpu(const std::string &path);
std::unique_ptr<Model> load_tiny(const TinyModel &model);

// n_threads 1, ggml's kernels and F32 K and V (so that rounding hides nothing), one sequence of 512.
EngineOptions test_options();

std::vector<int32_t> random_tokens(int n, uint64_t seed, int n_vocab = k_tiny_n_vocab);

Plan select_plan(int n_layers, const std::vector<int> &layers, double ratio,
                 const std::string &policy = "orthogonal", uint64_t seed = 0);
Plan skip_plan(int n_layers, const std::vector<int> &layers);

// Random numbers of about the size of fitted ones: an update changes a row about as a layer does.
CorrectionPtr random_correction(int n_embd, int rank, uint64_t seed);
ProbePtr random_probe(int n_embd, uint64_t seed);
// The plan with random probes where its policy wants one, and with random corrections in all
// layers that skip rows (rank < 0: without).
Plan completed(Plan plan, int n_embd, int rank = -1, uint64_t seed = 1);

// Keeps the hidden states at the boundaries it is given; by (boundary, chunk).
class HiddenTap : public Tap {
 public:
    explicit HiddenTap(std::vector<int> boundaries) : boundaries_(std::move(boundaries)) {}
    bool wants_hidden(int boundary) const override;
    void on_hidden(int boundary, size_t chunk, std::span<const float> hidden) override;
    const std::vector<float> &hidden(int boundary, size_t chunk = 0) const;

 private:
    std::vector<int> boundaries_;
    std::map<std::pair<int, size_t>, std::vector<float>> hidden_;
};

using Logits = std::vector<float>;  // [n_vocab, output rows]

Chunk chunk_of(Sequence &sequence, std::span<const int32_t> tokens, Phase phase = Phase::prefill,
               Outputs outputs = Outputs::all);
// forward() with the logits of each chunk put together; blocks must come in order.
std::vector<Logits> run_batch(Engine &engine, std::span<const Chunk> batch,
                              ForwardOptions options = {});
// One chunk as prefill.
Logits run(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
           Outputs outputs = Outputs::all, Tap *tap = nullptr);
// The tokens one by one as decode: the logits of each.
Logits run_steps(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens);

}  // namespace orthorank::test
