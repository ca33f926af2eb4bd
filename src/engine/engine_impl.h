// What an Engine owns; shared by engine.cpp and forward.cpp only.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/slots.h"
#include "graph/backends.h"
#include "graph/corrections.h"
#include "graph/device_rows.h"
#include "graph/kv_cache.h"
#include "graph/runner.h"

namespace orthorank {

struct Engine::Impl {
    Impl(const Model &model, const EngineOptions &options, int n_ctx);

    const Model &model;
    EngineOptions options;
    int n_ctx;       // as asked for; the cache's is rounded up
    CpuLevel level;  // of our own kernels; none where no layer is on a CPU
    Backends backends;
    BufferTypes types;  // of buffers that live between graphs
    KvCache cache;
    CorrectionStore corrections;
    DeviceRows sinks;  // of the layers of each slot: row slot * n_layers + il
    Runner runner;
    HiddenRowsPool hidden;
    std::shared_ptr<Slots> slots;
};

}  // namespace orthorank
