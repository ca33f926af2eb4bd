// The benchmark's libllama arm: stock llama.cpp on the same file. The one place outside model/
// that includes llama.h.
#include <llama.h>

#include <memory>

#include "base/error.h"
#include "tasks/bench.h"

namespace orthorank {

namespace {

constexpr int k_ubatch = 512;

struct LlamaDeleter {
    void operator()(llama_model *model) const { llama_model_free(model); }
    void operator()(llama_context *context) const { llama_free(context); }
};

class LibllamaArm : public BenchArm {
 public:
    LibllamaArm(const std::string &path, int n_ctx, int n_sequences, int n_threads)
        : n_sequences_(n_sequences) {
        llama_backend_init();
        model_.reset(llama_model_load_from_file(path.c_str(), llama_model_default_params()));
        if (!model_) {
            fail(ErrorKind::file, "libllama cannot load {}", path);
        }
        llama_context_params params = llama_context_default_params();
        params.n_ctx = static_cast<uint32_t>(n_ctx) * static_cast<uint32_t>(n_sequences);
        params.n_seq_max = static_cast<uint32_t>(n_sequences);
        params.n_batch = params.n_ctx;
        params.n_ubatch = k_ubatch;
        params.n_threads = n_threads;
        params.n_threads_batch = n_threads;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params.no_perf = true;
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_) {
            fail(ErrorKind::limit, "libllama cannot make a context of {} tokens", params.n_ctx);
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
            return;
        }
        for (int i = 0; i < shape.n_tokens; ++i) {
            decode(tokens, shape.depth + i, 1);
        }
    }

 private:
    // n tokens of each sequence from position `first` on; logits of the last, as our arms do.
    void decode(const BenchTokens &tokens, int first, int n) {
        batch_.n_tokens = 0;
        for (size_t sequence = 0; sequence < tokens.size(); ++sequence) {
            for (int position = first; position < first + n; ++position) {
                const int32_t at = batch_.n_tokens++;
                batch_.token[at] = tokens[sequence][static_cast<size_t>(position)];
                batch_.pos[at] = position;
                batch_.n_seq_id[at] = 1;
                batch_.seq_id[at][0] = static_cast<llama_seq_id>(sequence);
                batch_.logits[at] = position + 1 == first + n;
            }
        }
        if (llama_decode(context_.get(), batch_) != 0) {
            fail(ErrorKind::device, "libllama failed to decode {} tokens", batch_.n_tokens);
        }
        llama_synchronize(context_.get());
    }

    std::unique_ptr<llama_model, LlamaDeleter> model_;
    std::unique_ptr<llama_context, LlamaDeleter> context_;
    llama_batch batch_{};
    int n_sequences_;
};

}  // namespace

std::unique_ptr<BenchArm> make_libllama_arm(const std::string &gguf_path, int n_ctx,
                                            int n_sequences, int n_threads) {
    return std::make_unique<LibllamaArm>(gguf_path, n_ctx, n_sequences, n_threads);
}

}  // namespace orthorank
