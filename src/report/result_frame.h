// What a result says of its origin: the command, the model, the build, the engine. Whoever writes
// results begins with it, so that every number can be made again.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/model.h"
#include "select/plan.h"

namespace orthorank {

// "command", "model", "build" and "engine" (null without one).
nlohmann::ordered_json result_frame(const std::vector<std::string> &command, const Model &model,
                                    const Engine *engine);

// What computes: "device", "threads", "n_ctx", "kv_type" and "kernels".
nlohmann::ordered_json engine_json(const Model &model, const EngineOptions &options);

// Whose kernels compute, as kernels_text() has it; "ggml's" where no layer is on a CPU of ours.
std::string kernels_used(const Model &model, Kernels kernels);

// This program's version: "0.1.0".
const char *program_version();
// With ggml's: "0.1.0 (ggml 0.9.4)".
std::string build_text();

// A plan's short description, as part of a result: null for the dense one.
nlohmann::ordered_json plan_name_json(const Plan &plan);

// "bf16 (256.6 MiB, NMSE 2.1e-06)"
std::string weight_copy_text(const WeightCopy &copy);

}  // namespace orthorank
