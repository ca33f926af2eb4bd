// What an Engine owns; shared by engine.cpp and forward.cpp only.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/slots.h"
#include "graph/backends.h"
#include "graph/corrections.h"
#include "graph/kv_cache.h"
#include "graph/runner.h"

namespace orthorank {

struct Engine::Impl {
    Impl(const Model &model, const EngineOptions &options, int n_ctx);

    // Makes room for n rows of hidden states and one more, the scratch row where padding goes.
    void reserve_hidden(int64_t n);
    int32_t scratch_row() const { return static_cast<int32_t>(state.hidden->ne[1] - 1); }

    const Model &model;
    EngineOptions options;
    int n_ctx;       // as asked for; the cache's is rounded up
    CpuLevel level;  // of our own products, for prompts
    Backends backends;
    KvCache cache;
    CorrectionStore corrections;
    Runner runner;
    SegmentState state;
    ggml_context_ptr sinks_ctx;
    ggml_backend_buffer_ptr sinks_buffer;
    ggml_context_ptr hidden_ctx;
    ggml_backend_buffer_ptr hidden_buffer;
    std::shared_ptr<Slots> slots;
};

}  // namespace orthorank
