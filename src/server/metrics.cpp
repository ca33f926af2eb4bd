#include "server/metrics.h"

#include <fmt/format.h>

namespace orthorank {

namespace {

template <typename Number>
void add(std::string &text, const char *name, const char *type, const char *help, Number value) {
    text += fmt::format("# HELP orthorank_{0} {1}\n# TYPE orthorank_{0} {2}\northorank_{0} {3}\n",
                        name, help, type, value);
}

}  // namespace

std::string metrics_text(const LoopCounters &counters, const Engine::MemoryUse &memory) {
    std::string text;
    const auto count = [&](const char *name, const char *help, const auto &value) {
        add(text, name, "counter", help, value.load());
    };
    const auto gauge = [&](const char *name, const char *help, auto value) {
        add(text, name, "gauge", help, value);
    };
    count("requests_total", "generating requests that were taken", counters.n_jobs);
    count("requests_refused_total", "requests that found the queue full", counters.n_refused);
    count("requests_cancelled_total", "requests whose client went away", counters.n_cancelled);
    count("requests_failed_total", "requests that failed after they were taken", counters.n_failed);
    count("prompt_tokens_total", "tokens of prompts", counters.n_prompt_tokens);
    count("generated_tokens_total", "generated tokens", counters.n_new_tokens);
    count("rows_offered_total", "rows given to selecting layers", counters.n_rows_offered);
    count("rows_computed_total", "rows that they computed", counters.n_rows_computed);
    count("steps_total", "steps of the engine", counters.n_steps);
    count("prefill_seconds_total", "from a request's first graph to its prompt's last",
          counters.prefill_s);
    count("decode_seconds_total", "from there to its end", counters.decode_s);
    gauge("requests_in_progress", "running or waiting", counters.n_jobs_now.load());
    gauge("sequences_in_use", "of the KV cache's", counters.n_sequences_now.load());
    gauge("kv_cache_bytes", "reserved when the server began", memory.kv_bytes);
    return text;
}

}  // namespace orthorank
