// For tests of layer selection: windows, an exact engine, and the two changes of a layer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "calibration/select_layers.h"
#include "engine/engine.h"
#include "evaluation/windows.h"

namespace orthorank::test {

inline Windows windows_of(const std::vector<int32_t> &tokens, int n_ctx) {
    Windows windows;
    windows.n_ctx = n_ctx;
    add_windows(windows, tokens);
    return windows;
}

struct Loaded {
    std::unique_ptr<Model> model;
    std::unique_ptr<Engine> engine;
};

inline Loaded load(const std::string &path, int n_ctx) {
    Loaded loaded;
    loaded.model = Model::load(path);
    EngineOptions options;
    options.kernels = Kernels::exact;
    options.n_ctx = n_ctx;
    options.n_threads = 1;
    options.kv_type = KvType::f32;
    loaded.engine = std::make_unique<Engine>(*loaded.model, options);
    return loaded;
}

inline LayerPlan selecting(double ratio = 0.333) {
    LayerPlan change;
    change.action = Action::select;
    change.ratio = ratio;
    return change;
}

inline LayerPlan removed() {
    LayerPlan change;
    change.action = Action::skip;
    return change;
}

inline std::vector<int> layers_of(const LayerOrder &order) {
    std::vector<int> layers;
    for (const SelectionRound &round : order.rounds) {
        layers.push_back(round.layer);
    }
    return layers;
}

}  // namespace orthorank::test
