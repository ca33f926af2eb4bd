// libllama running the same GGUF: what dense logits are compared with. CPU, flash attention
// (except over an F32 cache) and 512 rows at a time, so that its kernels see the shapes that ours
// see. One thread at a time;
// throws std::runtime_error.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/kv_cache.h"

struct llama_model;
struct llama_context;

namespace orthorank::test {

class LibllamaOracle {
 public:
    LibllamaOracle(const std::string &gguf_path, int n_ctx, int n_threads,
                   KvType kv_type = KvType::f16);
    ~LibllamaOracle();

    // The tokens behind what is there: logits of all of them [n_vocab, n], or of the last only.
    std::vector<float> decode(std::span<const int32_t> tokens, bool all_rows);
    void clear();

 private:
    struct Deleter {
        void operator()(llama_model *model) const;
        void operator()(llama_context *context) const;
    };
    std::unique_ptr<llama_model, Deleter> model_;
    std::unique_ptr<llama_context, Deleter> context_;
    int n_past_ = 0;
};

// The model in `path`, as libllama writes it.
void save_by_libllama(const std::string &path, const std::string &saved);

}  // namespace orthorank::test
