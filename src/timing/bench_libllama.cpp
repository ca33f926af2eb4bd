// The benchmark's libllama arm: stock llama.cpp on the same file. The one place outside model/
// that includes llama.h.
#include <llama.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "model/backend_info.h"
#include "model/ggml_log.h"
#include "model/gguf_file.h"
#include "session/log_probs.h"
#include "timing/bench.h"

namespace orthorank {

namespace {

constexpr int k_ubatch = 512;

// What libllama may offload to: the model's device, or nothing for the CPU; and the list's end.
std::vector<ggml_backend_dev_t> devices_for_libllama(const Model &model) {
    if (model.split().is_split()) {
        fail(
            ErrorKind::usage,
            "the arm libllama runs on one device, and this model is split over {}: leave it out of "
            "--arms",
            device_name(model));
    }
    ggml_backend_dev_t device = model.devices().front();
    const auto type = ggml_backend_dev_type(device);
    if (type == GGML_BACKEND_DEVICE_TYPE_CPU) {
        return {nullptr};
    }
    if (type != GGML_BACKEND_DEVICE_TYPE_GPU && type != GGML_BACKEND_DEVICE_TYPE_IGPU) {
        fail(ErrorKind::usage,
             "the arm libllama cannot be told to compute on {}: leave it out of --arms",
             ggml_backend_dev_name(device));
    }
    return {device, nullptr};
}

struct LlamaDeleter {
    void operator()(llama_model *model) const { llama_model_free(model); }
    void operator()(llama_context *context) const { llama_free(context); }
};

class LibllamaArm : public BenchArm {
 public:
    LibllamaArm(const Model &model, const EngineOptions &options)
        : n_sequences_(options.n_sequences) {
        check_kv_type(model.hparams(), options.kv_type);
        llama_backend_init();
        load(model);
        llama_context_params params = llama_context_default_params();
        params.n_ctx =
            static_cast<uint32_t>(options.n_ctx) * static_cast<uint32_t>(options.n_sequences);
        params.n_seq_max = static_cast<uint32_t>(options.n_sequences);
        params.n_batch = params.n_ctx;
        params.n_ubatch = k_ubatch;
        params.n_threads = options.n_threads > 0 ? options.n_threads : default_n_threads();
        params.n_threads_batch = params.n_threads;
        params.type_k = static_cast<ggml_type>(ggml_type_of(options.kv_type));
        params.type_v = params.type_k;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params.no_perf = true;
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_) {
            fail(ErrorKind::limit, "libllama cannot make a context of {} tokens with a {} KV cache",
                 params.n_ctx, ggml_type_name(params.type_k));
        }
        batch_ = llama_batch_init(static_cast<int32_t>(params.n_ctx), 0, 1);
    }
    ~LibllamaArm() override { llama_batch_free(batch_); }
    LibllamaArm(const LibllamaArm &) = delete;
    LibllamaArm &operator=(const LibllamaArm &) = delete;

    void prepare(const BenchShape &shape, const BenchTokens &tokens) override {
        CHECK(shape.n_sequences <= n_sequences_);
        llama_memory_clear(llama_get_memory(context_.get()), false);
        if (shape.phase == Phase::decode && shape.depth > 0) {
            decode(tokens, 0, shape.depth);
        }
    }

    void run(const BenchShape &shape, const BenchTokens &tokens) override {
        if (shape.phase == Phase::prefill) {
            decode(tokens, 0, shape.n_tokens);
            if (shape.takes_token) {
                take_tokens();
            }
            return;
        }
        for (int i = 0; i < shape.n_tokens; ++i) {
            decode(tokens, shape.depth + i, 1);
        }
    }

    std::span<const float> last_logits(size_t sequence) const override {
        const auto n_vocab =
            static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model_.get())));
        return {llama_get_logits_ith(context_.get(), last_at_.at(sequence)), n_vocab};
    }

 private:
    void take_tokens() {
        const auto n_vocab =
            static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model_.get())));
        for (int32_t i = 0; i < batch_.n_tokens; ++i) {
            if (batch_.logits[i] != 0) {
                token_ = argmax({llama_get_logits_ith(context_.get(), i), n_vocab});
            }
        }
    }

    void load(const Model &model) {
        std::vector<ggml_backend_dev_t> devices = devices_for_libllama(model);
        llama_model_params params = llama_model_default_params();
        params.n_gpu_layers = devices.size() > 1 ? -1 : 0;  // all, or none
        params.devices = devices.data();
        // libllama leaves tensors where the file has them, and its kernels assert their alignment.
        if (!model.use_mmap() || !GgufFile(model.path()).is_aligned()) {
            params.load_mode = LLAMA_LOAD_MODE_NONE;
        }
        clear_ggml_log();
        model_.reset(llama_model_load_from_file(model.path().c_str(), params));
        if (!model_) {
            fail(ErrorKind::file, "libllama cannot load {} ({}): leave it out of --arms",
                 model.path(), ggml_error_or("no reason given"));
        }
    }

    // n tokens of each sequence from position `first` on; logits of the last, as our arms do.
    void decode(const BenchTokens &tokens, int first, int n) {
        batch_.n_tokens = 0;
        last_at_.clear();
        for (size_t sequence = 0; sequence < tokens.size(); ++sequence) {
            for (int position = first; position < first + n; ++position) {
                const int32_t at = batch_.n_tokens++;
                batch_.token[at] = tokens[sequence][static_cast<size_t>(position)];
                batch_.pos[at] = position;
                batch_.n_seq_id[at] = 1;
                batch_.seq_id[at][0] = static_cast<llama_seq_id>(sequence);
                batch_.logits[at] = position + 1 == first + n;
            }
            last_at_.push_back(batch_.n_tokens - 1);
        }
        if (llama_decode(context_.get(), batch_) != 0) {
            fail(ErrorKind::device, "libllama failed to decode {} tokens", batch_.n_tokens);
        }
        llama_synchronize(context_.get());
    }

    std::unique_ptr<llama_model, LlamaDeleter> model_;
    std::unique_ptr<llama_context, LlamaDeleter> context_;
    llama_batch batch_{};
    std::vector<int32_t> last_at_;  // by sequence: where its last token is in batch_
    int n_sequences_;
    int32_t token_ = -1;  // that the last run took
};

}  // namespace

std::unique_ptr<BenchArm> make_libllama_arm(const Model &model, const EngineOptions &options) {
    return std::make_unique<LibllamaArm>(model, options);
}

}  // namespace orthorank
