#include "support/libllama_oracle.h"

#include <llama.h>

#include <stdexcept>

namespace orthorank::test {

namespace {

ggml_type to_ggml(KvType type) {
    return type == KvType::f16   ? GGML_TYPE_F16
           : type == KvType::f32 ? GGML_TYPE_F32
                                 : GGML_TYPE_Q8_0;
}

llama_model *load(const std::string &path) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model_params params = llama_model_default_params();
    ggml_backend_dev_t no_devices[] = {nullptr};
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    llama_model *model = llama_model_load_from_file(path.c_str(), params);
    if (model == nullptr) {
        throw std::runtime_error("libllama does not load " + path);
    }
    return model;
}

}  // namespace

void save_by_libllama(const std::string &path, const std::string &saved) {
    llama_model *model = load(path);
    llama_model_save_to_file(model, saved.c_str());
    llama_model_free(model);
}

void LibllamaOracle::Deleter::operator()(llama_model *model) const {
    llama_model_free(model);
}
void LibllamaOracle::Deleter::operator()(llama_context *context) const {
    llama_free(context);
}

LibllamaOracle::LibllamaOracle(const std::string &gguf_path, int n_ctx, int n_threads,
                               KvType kv_type)
    : model_(load(gguf_path)) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(n_ctx);
    params.n_batch = params.n_ctx;
    params.n_ubatch = 512;
    params.n_threads = n_threads;
    params.n_threads_batch = n_threads;
    // Its flash attention rounds an F32 cache to F16 at each use; ours keeps it.
    params.flash_attn_type =
        kv_type == KvType::f32 ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.type_k = to_ggml(kv_type);
    params.type_v = to_ggml(kv_type);
    context_.reset(llama_init_from_model(model_.get(), params));
    if (!context_) {
        throw std::runtime_error("libllama makes no context for " + gguf_path);
    }
}

LibllamaOracle::~LibllamaOracle() = default;

void LibllamaOracle::clear() {
    llama_memory_clear(llama_get_memory(context_.get()), false);
    n_past_ = 0;
}

std::vector<float> LibllamaOracle::decode(std::span<const int32_t> tokens, bool all_rows) {
    const auto n = static_cast<int32_t>(tokens.size());
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int32_t i = 0; i < n; ++i) {
        batch.token[i] = tokens[static_cast<size_t>(i)];
        batch.pos[i] = n_past_ + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = all_rows || i + 1 == n;
    }
    const int32_t status = llama_decode(context_.get(), batch);
    llama_batch_free(batch);
    if (status != 0) {
        throw std::runtime_error("llama_decode fails");
    }
    n_past_ += n;
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model_.get()));
    std::vector<float> logits;
    for (int32_t i = all_rows ? 0 : n - 1; i < n; ++i) {
        const float *row = llama_get_logits_ith(context_.get(), i);
        logits.insert(logits.end(), row, row + n_vocab);
    }
    return logits;
}

}  // namespace orthorank::test
