#include "graph/taylor.h"

#include <ggml-cpp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "graph/backends.h"
#include "graph/block.h"
#include "graph/gradient_graph.h"
#include "model/file_bytes.h"
#include "model/gguf_file.h"
#include "model/not_finite.h"
#include "model/weight_list.h"
#include "model/weight_store.h"

namespace orthorank {

namespace {

using Rows = std::vector<float>;  // [n_embd, n_ctx]

class Taylor {
 public:
    Taylor(const Model &model, std::span<const int32_t> tokens, int n_ctx, int n_threads,
           const std::function<void(double)> &on_progress)
        : hparams_(model.hparams()),
          tokens_(tokens),
          n_ctx_(n_ctx),
          n_windows_(tokens.size() / static_cast<size_t>(n_ctx)),
          on_progress_(on_progress),
          file_(model.path()),
          bytes_(model.path(), true),
          requests_(list_weights(file_, hparams_, weights_)),
          backend_(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr)) {
        CHECK(backend_ != nullptr);
        set_threads(backend_.get(), n_threads > 0 ? n_threads : default_n_threads());
        hidden_.resize(static_cast<size_t>(hparams_.n_layers) + 1);
    }

    TaylorScores run() {
        embed();
        for (int il = 0; il < hparams_.n_layers; ++il) {
            forward_block(il);
            step();
        }
        head();
        result_.scores.resize(static_cast<size_t>(hparams_.n_layers));
        for (int il = hparams_.n_layers - 1; il >= 0; --il) {
            result_.scores[static_cast<size_t>(il)] = backward_block(il);
            hidden_[static_cast<size_t>(il) + 1].clear();
            step();
        }
        check_result();
        return result_;
    }

 private:
    void check_result() const {
        bool is_finite = std::isfinite(result_.loss);
        for (const double score : result_.scores) {
            is_finite = is_finite && std::isfinite(score);
        }
        if (!is_finite) {
            fail_not_finite(file_.path(), "Taylor scores",
                            "its numbers are beyond what F32 holds; take another method");
        }
    }

    std::span<const int32_t> window(size_t w) const {
        return tokens_.subspan(w * static_cast<size_t>(n_ctx_), static_cast<size_t>(n_ctx_));
    }

    void step() {
        n_steps_ += 1;
        if (on_progress_) {
            on_progress_(static_cast<double>(n_steps_) / (2.0 * hparams_.n_layers));
        }
    }

    // An F32 copy of a large vocabulary's table is more than is needed, but simple to read.
    void embed() {
        const TensorInfo *info = file_.find_tensor("token_embd.weight");
        CHECK(info != nullptr);
        const Rows table = read_as_f32(bytes_, *info);
        const auto n_embd = static_cast<size_t>(hparams_.n_embd);
        for (size_t w = 0; w < n_windows_; ++w) {
            Rows rows;
            for (int32_t token : window(w)) {
                const float *row = table.data() + static_cast<size_t>(token) * n_embd;
                for (size_t i = 0; i < n_embd; ++i) {
                    rows.push_back(row[i] * hparams_.embedding_scale);
                }
            }
            hidden_[0].push_back(std::move(rows));
        }
    }

    // The tensors of a block (or, il < 0, of the head) in F32, in `weights_`, and the inputs.
    struct Block {
        Constants constants{64};
        ggml_tensor *h = nullptr;         // [n_embd, n_ctx], the input
        ggml_tensor *gradient = nullptr;  // [n_embd, n_ctx], of the output; head: labels
        PlainInputs inputs;               // of n_ctx rows
    };

    bool is_in_block(ggml_tensor **slot, int il) {
        if (il < 0) {
            return slot == &weights_.output || slot == &weights_.output_norm;
        }
        const auto *at = reinterpret_cast<const char *>(slot);
        const auto *first = reinterpret_cast<const char *>(&weights_.layers[il]);
        return at >= first && at < first + sizeof(LayerWeights);
    }

    std::unique_ptr<Block> load(int il) {
        auto block = std::make_unique<Block>();
        for (const WeightRequest &request : requests_) {
            if (is_in_block(request.slot, il)) {
                *request.slot = block->constants.make(GGML_TYPE_F32, request.info.ne);
            }
        }
        const int64_t n_out = il < 0 ? hparams_.n_vocab : hparams_.n_embd;
        const int64_t n = n_ctx_;
        block->h = block->constants.make(GGML_TYPE_F32, {hparams_.n_embd, n, 1, 1});
        block->gradient = block->constants.make(GGML_TYPE_F32, {n_out, n, 1, 1});
        PlainInputs &inputs = block->inputs;
        inputs.positions = block->constants.make(GGML_TYPE_I32, {n, 1, 1, 1});
        inputs.mask = block->constants.make(GGML_TYPE_F32, {n, n, 1, 1});
        if (hparams_.temperature != 0.0f) {
            inputs.temperatures = block->constants.make(GGML_TYPE_F32, {1, 1, n, 1});
        }
        if (il >= 0 && weights_.layers[il].ffn_gate_inp != nullptr) {
            inputs.expert_mask = block->constants.make(GGML_TYPE_F32, {hparams_.n_expert, n, 1, 1});
        }
        block->constants.allocate(backend_.get());
        for (const WeightRequest &request : requests_) {
            if (is_in_block(request.slot, il)) {
                upload(*request.slot, read_as_f32(bytes_, request.info));
            }
        }
        upload_inputs(inputs, il < 0 ? 0 : hparams_.layers[static_cast<size_t>(il)].window);
        return block;
    }

    // Positions and what follows from them, of a layer with this window.
    void upload_inputs(const PlainInputs &inputs, int window) const {
        const int64_t n = n_ctx_;
        std::vector<int32_t> positions(static_cast<size_t>(n));
        std::iota(positions.begin(), positions.end(), 0);
        upload(inputs.positions, positions);
        std::vector<float> mask(static_cast<size_t>(n * n),
                                -std::numeric_limits<float>::infinity());
        for (int64_t q = 0; q < n; ++q) {
            const int64_t first = window > 0 ? std::max<int64_t>(0, q + 1 - window) : 0;
            std::fill(mask.begin() + q * n + first, mask.begin() + q * n + q + 1, 0.0f);
        }
        upload(inputs.mask, mask);
        if (inputs.temperatures != nullptr) {
            std::vector<float> temperatures;
            for (const int32_t position : positions) {
                temperatures.push_back(query_temperature(hparams_, position));
            }
            upload(inputs.temperatures, temperatures);
        }
    }

    ggml_tensor *build(const GradientGraph &graph, const Block &block, int il,
                       bool only_router) const {
        PlainInputs inputs = block.inputs;
        inputs.expert_mask = only_router ? nullptr : inputs.expert_mask;
        return BlockBuilder(graph.ctx(), graph.gf(), hparams_, weights_)
            .whole_block(il, block.h, inputs);
    }

    // Puts a window's rows into the block's inputs; with experts, also which of them are used.
    void set_window(const Block &block, int il, size_t w) {
        upload(block.h, hidden_[static_cast<size_t>(il)][w]);
        if (block.inputs.expert_mask == nullptr) {
            return;
        }
        GradientGraph graph(hparams_);
        ggml_tensor *router = build(graph, block, il, true);
        graph.run(backend_.get(), router);
        const Rows probs = download(router);
        const auto n_expert = static_cast<size_t>(hparams_.n_expert);
        std::vector<float> mask(probs.size(), 0.0f);
        std::vector<size_t> order(n_expert);
        for (size_t first = 0; first < probs.size(); first += n_expert) {
            std::iota(order.begin(), order.end(), size_t{0});
            std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
                return probs[first + a] > probs[first + b];
            });
            for (int i = 0; i < hparams_.n_expert_used; ++i) {
                mask[first + order[static_cast<size_t>(i)]] = 1.0f;
            }
        }
        upload(block.inputs.expert_mask, mask);
    }

    void forward_block(int il) {
        const std::unique_ptr<Block> block = load(il);
        for (size_t w = 0; w < n_windows_; ++w) {
            set_window(*block, il, w);
            GradientGraph graph(hparams_);
            ggml_tensor *h = build(graph, *block, il, false);
            graph.run(backend_.get(), h);
            hidden_[static_cast<size_t>(il) + 1].push_back(download(h));
        }
    }

    // Loss, and its gradient at the last boundary. The last row of a window predicts nothing: its
    // labels are zero, and the mean over n_ctx rows is made one over n_ctx - 1.
    void head() {
        const std::unique_ptr<Block> block = load(-1);
        const auto n_vocab = static_cast<size_t>(hparams_.n_vocab);
        const double scale = n_ctx_ / (n_ctx_ - 1.0) / static_cast<double>(n_windows_);
        ggml_set_param(block->h);
        for (size_t w = 0; w < n_windows_; ++w) {
            upload(block->h, hidden_.back()[w]);
            std::vector<float> labels(n_vocab * static_cast<size_t>(n_ctx_ - 1), 0.0f);
            for (size_t i = 0; i + 1 < static_cast<size_t>(n_ctx_); ++i) {
                labels[i * n_vocab + static_cast<size_t>(window(w)[i + 1])] = 1.0f;
            }
            labels.resize(n_vocab * static_cast<size_t>(n_ctx_), 0.0f);
            upload(block->gradient, labels);
            GradientGraph graph(hparams_);
            ggml_tensor *logits =
                BlockBuilder(graph.ctx(), graph.gf(), hparams_, weights_).plain_logits(block->h);
            ggml_tensor *loss = ggml_cross_entropy_loss(graph.ctx(), logits, block->gradient);
            graph.run_backward(backend_.get(), loss, std::span(&block->h, 1));
            result_.loss += scale * static_cast<double>(download(loss).front());
            Rows gradient = graph.gradient(block->h);
            // ggml's formula is (softmax - labels) for each row: not for one without a label.
            const auto n_embd = static_cast<size_t>(hparams_.n_embd);
            std::fill(gradient.end() - static_cast<std::ptrdiff_t>(n_embd), gradient.end(), 0.0f);
            for (float &x : gradient) {
                x = static_cast<float>(x * scale);
            }
            gradients_.push_back(std::move(gradient));
        }
    }

    std::vector<ggml_tensor *> scored_weights(int il) const {
        const LayerWeights &layer = weights_.layers[il];
        std::vector<ggml_tensor *> found;
        for (const LayerTensor &tensor : k_layer_tensors) {
            const bool counts =
                tensor.kind != TensorKind::bias && tensor.kind != TensorKind::head_norm;
            if (counts && layer.*tensor.slot != nullptr) {
                found.push_back(layer.*tensor.slot);
            }
        }
        return found;
    }

    double backward_block(int il) {
        const std::unique_ptr<Block> block = load(il);
        std::vector<ggml_tensor *> parameters = scored_weights(il);
        const size_t n_weights = parameters.size();
        parameters.push_back(block->h);
        for (ggml_tensor *parameter : parameters) {
            ggml_set_param(parameter);
        }
        std::vector<std::vector<double>> sums(n_weights);
        for (size_t w = 0; w < n_windows_; ++w) {
            set_window(*block, il, w);
            upload(block->gradient, gradients_[w]);
            GradientGraph graph(hparams_);
            ggml_tensor *h = build(graph, *block, il, false);
            ggml_tensor *loss = ggml_sum(graph.ctx(), ggml_mul(graph.ctx(), h, block->gradient));
            graph.run_backward(backend_.get(), loss, parameters);
            gradients_[w] = graph.gradient(block->h);
            for (size_t i = 0; i < n_weights; ++i) {
                const Rows gradient = graph.gradient(parameters[i]);
                sums[i].resize(gradient.size(), 0.0);
                for (size_t j = 0; j < gradient.size(); ++j) {
                    sums[i][j] += static_cast<double>(gradient[j]);
                }
            }
        }
        double score = 0;
        for (size_t i = 0; i < n_weights; ++i) {
            const Rows values = download(parameters[i]);
            for (size_t j = 0; j < values.size(); ++j) {
                score += std::fabs(static_cast<double>(values[j]) * sums[i][j]);
            }
        }
        return score;
    }

    const Hparams &hparams_;
    std::span<const int32_t> tokens_;
    int n_ctx_;
    size_t n_windows_;
    const std::function<void(double)> &on_progress_;
    Weights weights_;
    GgufFile file_;
    FileBytes bytes_;
    std::vector<WeightRequest> requests_;
    ggml_backend_ptr backend_;
    std::vector<std::vector<Rows>> hidden_;  // by boundary, by window
    std::vector<Rows> gradients_;            // of the loss by the current boundary, by window
    TaylorScores result_;
    int n_steps_ = 0;
};

}  // namespace

TaylorScores taylor_scores(const Model &model, std::span<const int32_t> tokens, int n_ctx,
                           int n_threads, const std::function<void(double)> &on_progress) {
    const Hparams &hparams = model.hparams();
    if (hparams.n_embd_per_layer > 0 || hparams.tail_begin() < hparams.n_layers) {
        fail(ErrorKind::usage,
             "{}: Taylor scores are not computed for layers that have embeddings of their own or "
             "read an earlier layer's keys; take another method",
             model.path());
    }
    CHECK(n_ctx >= 2 && tokens.size() % static_cast<size_t>(n_ctx) == 0 && !tokens.empty());
    return Taylor(model, tokens, n_ctx, n_threads, on_progress).run();
}

}  // namespace orthorank
