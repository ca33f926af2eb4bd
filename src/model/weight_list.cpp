#include "model/weight_list.h"

#include <ggml.h>

#include <charconv>
#include <string_view>
#include <unordered_set>

#include "base/error.h"

namespace orthorank {

namespace {

enum class Presence { required, optional };

// Norms and biases come as F32, F16 or BF16; matrices in any type that can be multiplied.
bool has_fitting_type(const TensorInfo &info, WeightUse use) {
    const auto type = static_cast<ggml_type>(info.type);
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) {
        return true;
    }
    return use != WeightUse::vector && ggml_is_quantized(type) &&
           ggml_get_type_traits(type)->to_float != nullptr;
}

class Lister {
 public:
    Lister(const GgufFile &file, const Hparams &hparams, Weights &weights)
        : file_(file), h_(hparams), weights_(weights) {}

    std::vector<WeightRequest> list() {
        weights_.layers.assign(static_cast<size_t>(h_.n_layers), {});
        list_ends();
        for (int il = 0; il < h_.n_layers; il++) {
            list_attention(il);
            list_ffn(il);
        }
        refuse_unknown();
        return std::move(requests_);
    }

 private:
    // Adds a request for tensor `name` of shape `ne`; returns whether the file has it.
    bool add(ggml_tensor *&slot, const std::string &name, std::array<int64_t, 4> ne, WeightUse use,
             Presence presence = Presence::required) {
        const TensorInfo *info = file_.find_tensor(name);
        if (info == nullptr) {
            if (presence == Presence::required) {
                fail(ErrorKind::format, "{}: tensor {} is missing, expected shape {}", file_.path(),
                     name, shape_text(ne));
            }
            return false;
        }
        if (info->ne != ne) {
            fail(ErrorKind::format, "{}: tensor {} has shape {}, expected {}", file_.path(), name,
                 shape_text(info->ne), shape_text(ne));
        }
        if (!has_fitting_type(*info, use)) {
            fail(ErrorKind::format, "{}: tensor {} has type {}, expected {}", file_.path(), name,
                 ggml_type_name(static_cast<ggml_type>(info->type)),
                 use == WeightUse::vector ? "f32, f16 or bf16"
                                          : "f32, f16, bf16 or a quantised type for weights");
        }
        WeightRequest request;
        request.slot = &slot;
        request.info = info;
        request.use = use;
        request.type = use == WeightUse::vector ? GGML_TYPE_F32 : info->type;
        request.is_convertible = use == WeightUse::matrix || use == WeightUse::experts;
        requests_.push_back(request);
        return true;
    }

    void norm(ggml_tensor *&slot, const std::string &name, int64_t n) {
        add(slot, name + ".weight", {n, 1, 1, 1}, WeightUse::vector);
        requests_.back().is_norm = true;
    }

    void matrix(ggml_tensor *&slot, const std::string &name, int64_t n_in, int64_t n_out) {
        add(slot, name + ".weight", {n_in, n_out, 1, 1}, WeightUse::matrix);
    }

    void bias(ggml_tensor *&slot, const std::string &name, int64_t n) {
        add(slot, name + ".bias", {n, 1, 1, 1}, WeightUse::vector, Presence::optional);
    }

    void list_ends() {
        const std::array<int64_t, 4> ne = {h_.n_embd, h_.n_vocab, 1, 1};
        add(weights_.token_embd, "token_embd.weight", ne, WeightUse::rows);
        norm(weights_.output_norm, "output_norm", h_.n_embd);
        if (!add(weights_.output, "output.weight", ne, WeightUse::matrix, Presence::optional)) {
            WeightRequest tied = requests_.front();
            tied.slot = &weights_.output;
            tied.use = WeightUse::matrix;
            tied.is_convertible = true;
            tied.is_tied = true;
            requests_.push_back(tied);
        }
        if (file_.find_tensor("output.bias") != nullptr) {
            fail(ErrorKind::format, "{}: tensor output.bias is not supported", file_.path());
        }
        if (h_.arch == Arch::llama) {
            add(weights_.rope_freqs, "rope_freqs.weight", {h_.n_rot / 2, 1, 1, 1},
                WeightUse::vector, Presence::optional);
        }
    }

    void list_attention(int il) {
        LayerWeights &w = weights_.layers[static_cast<size_t>(il)];
        const std::string blk = fmt::format("blk.{}.", il);
        const int64_t n_embd = h_.n_embd;
        const int64_t n_embd_o = int64_t{h_.head_dim_v} * h_.layers[static_cast<size_t>(il)].n_head;
        norm(w.attn_norm, blk + "attn_norm", n_embd);
        matrix(w.attn_q, blk + "attn_q", n_embd, h_.n_embd_q(il));
        matrix(w.attn_k, blk + "attn_k", n_embd, h_.n_embd_k(il));
        matrix(w.attn_v, blk + "attn_v", n_embd, h_.n_embd_v(il));
        matrix(w.attn_output, blk + "attn_output", n_embd_o, n_embd);
        bias(w.attn_q_bias, blk + "attn_q", h_.n_embd_q(il));
        bias(w.attn_k_bias, blk + "attn_k", h_.n_embd_k(il));
        bias(w.attn_v_bias, blk + "attn_v", h_.n_embd_v(il));
        bias(w.attn_output_bias, blk + "attn_output", n_embd);
        if (h_.arch == Arch::qwen3) {
            norm(w.attn_q_norm, blk + "attn_q_norm", h_.head_dim_k);
            norm(w.attn_k_norm, blk + "attn_k_norm", h_.head_dim_k);
        }
    }

    void list_ffn(int il) {
        LayerWeights &w = weights_.layers[static_cast<size_t>(il)];
        const std::string blk = fmt::format("blk.{}.", il);
        const int64_t n_embd = h_.n_embd;
        const int64_t n_ff = h_.layers[static_cast<size_t>(il)].n_ff;
        norm(w.ffn_norm, blk + "ffn_norm", n_embd);
        if (h_.n_expert > 0) {
            list_experts(w, blk, n_ff);
            return;
        }
        matrix(w.ffn_gate, blk + "ffn_gate", n_embd, n_ff);
        matrix(w.ffn_up, blk + "ffn_up", n_embd, n_ff);
        matrix(w.ffn_down, blk + "ffn_down", n_ff, n_embd);
        bias(w.ffn_gate_bias, blk + "ffn_gate", n_ff);
        bias(w.ffn_up_bias, blk + "ffn_up", n_ff);
        bias(w.ffn_down_bias, blk + "ffn_down", n_embd);
    }

    void list_experts(LayerWeights &w, const std::string &blk, int64_t n_ff) {
        if (file_.find_tensor(blk + "ffn_gate.0.weight") != nullptr) {
            fail(ErrorKind::format,
                 "{} has one tensor per expert ({}ffn_gate.0.weight), a layout no longer read: "
                 "convert the model again",
                 file_.path(), blk);
        }
        const int64_t n_embd = h_.n_embd;
        const int64_t n = h_.n_expert;
        const auto experts = [&](ggml_tensor *&slot, const char *name, int64_t n_in,
                                 int64_t n_out) {
            add(slot, blk + name, {n_in, n_out, n, 1}, WeightUse::experts);
        };
        matrix(w.ffn_gate_inp, blk + "ffn_gate_inp", n_embd, n);
        // The router is small, and its errors change experts.
        requests_.back().is_convertible = false;
        experts(w.ffn_gate_exps, "ffn_gate_exps.weight", n_embd, n_ff);
        experts(w.ffn_up_exps, "ffn_up_exps.weight", n_embd, n_ff);
        experts(w.ffn_down_exps, "ffn_down_exps.weight", n_ff, n_embd);
    }

    // Whether the name is "blk.N." and more, with N below the number of layers.
    bool is_in_a_layer(const std::string &name) const {
        constexpr std::string_view k_prefix = "blk.";
        int il = -1;
        const char *end = name.data() + name.size();
        return name.compare(0, k_prefix.size(), k_prefix) == 0 &&
               std::from_chars(name.data() + k_prefix.size(), end, il).ec == std::errc() &&
               il >= 0 && il < h_.n_layers;
    }

    // A layer's tensor that nobody asked for (fused QKV, shared experts, a further norm) means a
    // variant that we would compute wrongly, so it is refused, as libllama does. Others are fine.
    void refuse_unknown() const {
        std::unordered_set<const TensorInfo *> asked;
        for (const WeightRequest &request : requests_) {
            asked.insert(request.info);
        }
        for (const TensorInfo &info : file_.tensors()) {
            const bool is_old_rope = info.name.find("attn_rot_embd") != std::string::npos;
            if (is_in_a_layer(info.name) && asked.count(&info) == 0 && !is_old_rope) {
                fail(ErrorKind::format,
                     "{}: tensor {} is not part of architecture {} as supported here: another "
                     "variant of the model?",
                     file_.path(), info.name, arch_name(h_.arch));
            }
        }
    }

    const GgufFile &file_;
    const Hparams &h_;
    Weights &weights_;
    std::vector<WeightRequest> requests_;
};

}  // namespace

std::vector<WeightRequest> list_weights(const GgufFile &file, const Hparams &hparams,
                                        Weights &weights) {
    return Lister(file, hparams, weights).list();
}

void hold_as(std::vector<WeightRequest> &requests, const std::string &type) {
    if (type == k_file_weights) {
        return;
    }
    const int to = ggml_type_of(type);
    const int64_t n_block = ggml_blck_size(static_cast<ggml_type>(to));
    for (WeightRequest &request : requests) {
        if (!request.is_convertible) {
            continue;
        }
        if (request.info->ne[0] % n_block != 0) {
            fail(ErrorKind::usage,
                 "weights cannot be held as {}: it needs rows divisible by {}, tensor {} has rows "
                 "of {}",
                 type, n_block, request.info->name, request.info->ne[0]);
        }
        request.type = to;
    }
}

}  // namespace orthorank
