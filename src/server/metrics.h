// Counters for Prometheus: numbers only, nothing of any request's content. Thread-safe.
#pragma once

#include <string>

#include "engine/engine.h"
#include "server/engine_loop.h"

namespace orthorank {

// GET /metrics, text format 0.0.4. `memory` as it was when the server began.
std::string metrics_text(const LoopCounters &counters, const Engine::MemoryUse &memory);

}  // namespace orthorank
