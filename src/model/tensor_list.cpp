#include "model/tensor_list.h"

#include <ggml.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "base/error.h"

namespace orthorank {

namespace {

// Norms and biases come as F32, F16 or BF16; matrices in any type that can be multiplied.
bool has_fitting_type(const TensorInfo &info, WeightUse use) {
    const auto type = static_cast<ggml_type>(info.type);
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) {
        return true;
    }
    return use != WeightUse::vector && ggml_is_quantized(type) &&
           ggml_get_type_traits(type)->to_float != nullptr;
}

const LayerTensor &known_tensor(ggml_tensor *LayerWeights::*slot) {
    const auto found = std::find_if(k_layer_tensors.begin(), k_layer_tensors.end(),
                                    [slot](const LayerTensor &t) { return t.slot == slot; });
    CHECK(found != k_layer_tensors.end());
    return *found;
}

// Outside the layers: what changes a network that has it.
constexpr std::string_view k_changing_tensors[] = {
    "output.bias",          "output_norm.bias",          "token_embd_norm.weight",
    "position_embd",        "rope_freqs.weight",         "rope_factors_long.weight",
    "dense_2.weight",       "rope_factors_short.weight", "dense_3.weight",
    "per_layer_token_embd", "per_layer_model_proj",      "per_layer_proj_norm"};

}  // namespace

TensorList::TensorList(const GgufFile &file, const Hparams &hparams, Weights &weights)
    : file_(file), h_(hparams), weights_(weights) {
    weights_.layers.assign(static_cast<size_t>(h_.n_layers), {});
}

std::string TensorList::name_of(const char *name) const {
    return fmt::format("blk.{}.{}", il_, name);
}

const TensorInfo *TensorList::find(const std::string &name, const Shape &ne, WeightUse use,
                                   Presence presence) {
    const TensorInfo *info = file_.find_tensor(name);
    if (info == nullptr) {
        if (presence == Presence::required) {
            fail(ErrorKind::format, "{}: tensor {} is missing, expected shape {}", file_.path(),
                 name, shape_text(ne));
        }
        return nullptr;
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
    asked_.insert(name);
    return info;
}

void TensorList::request(ggml_tensor *&slot, const TensorInfo &info, WeightUse use) {
    WeightRequest request;
    request.slot = &slot;
    request.info = info;
    request.use = use;
    request.layer = il_;
    request.type = use == WeightUse::vector ? GGML_TYPE_F32 : info.type;
    request.is_convertible = use == WeightUse::matrix || use == WeightUse::experts;
    requests_.push_back(request);
}

// Adds a request for tensor `name` of shape `ne`; returns whether the file has it.
bool TensorList::add(ggml_tensor *&slot, const std::string &name, const Shape &ne, WeightUse use,
                     Presence presence) {
    const TensorInfo *info = find(name, ne, use, presence);
    if (info != nullptr) {
        request(slot, *info, use);
    }
    return info != nullptr;
}

bool TensorList::layer_tensor(ggml_tensor *LayerWeights::*slot, const Shape &ne, WeightUse use,
                              Presence presence, const char *file_name) {
    const LayerTensor &known = known_tensor(slot);
    const bool is_there =
        add(weights_.layers[static_cast<size_t>(il_)].*slot,
            name_of(file_name != nullptr ? file_name : known.name), ne, use, presence);
    if (is_there) {
        requests_.back().info.name = name_of(known.name);
        requests_.back().is_norm =
            known.kind == TensorKind::norm || known.kind == TensorKind::head_norm;
        // The router is small, and its errors change experts.
        requests_.back().is_convertible &= known.kind != TensorKind::router;
    }
    return is_there;
}

void TensorList::norm(ggml_tensor *LayerWeights::*slot, const char *file_name) {
    layer_tensor(slot, {h_.n_embd, 1, 1, 1}, WeightUse::vector, Presence::required, file_name);
}

void TensorList::sinks() {
    layer_tensor(&LayerWeights::attn_sinks, {spec().n_head, 1, 1, 1}, WeightUse::vector);
}

void TensorList::matrix(ggml_tensor *LayerWeights::*slot, int64_t n_in, int64_t n_out) {
    layer_tensor(slot, {n_in, n_out, 1, 1}, WeightUse::matrix);
}

void TensorList::bias(ggml_tensor *LayerWeights::*slot, int64_t n) {
    layer_tensor(slot, {n, 1, 1, 1}, WeightUse::vector, Presence::optional);
}

void TensorList::ends() {
    const Shape ne = {h_.n_embd, h_.n_vocab, 1, 1};
    il_ = -1;
    add(weights_.token_embd, "token_embd.weight", ne, WeightUse::rows);
    il_ = h_.n_layers;
    add(weights_.output_norm, "output_norm.weight", {h_.n_embd, 1, 1, 1}, WeightUse::vector);
    requests_.back().is_norm = true;
    if (!add(weights_.output, "output.weight", ne, WeightUse::matrix, Presence::optional)) {
        WeightRequest tied = requests_.front();
        tied.slot = &weights_.output;
        tied.layer = il_;
        tied.use = WeightUse::matrix;
        tied.is_convertible = true;
        tied.is_tied = true;
        requests_.push_back(tied);
    }
}

void TensorList::rope_factors(ggml_tensor *LayerWeights::*slot, const char *name) {
    const Shape ne = {h_.layers.front().rotation.n_rot / 2, 1, 1, 1};
    if (add(weights_.layers[static_cast<size_t>(il_)].*slot, name, ne, WeightUse::vector,
            Presence::optional)) {
        requests_.back().is_repeated = il_ > 0;
    }
}

void TensorList::rope_freqs() {
    rope_factors(&LayerWeights::rope_freqs, "rope_freqs.weight");
}

void TensorList::rope_by_context() {
    rope_factors(&LayerWeights::rope_long, "rope_factors_long.weight");
    rope_factors(&LayerWeights::rope_short, "rope_factors_short.weight");
}

void TensorList::attention() {
    matrix(&LayerWeights::attn_q, h_.n_embd, h_.n_embd_q(il_));
    matrix(&LayerWeights::attn_k, h_.n_embd, h_.n_embd_k(il_));
    matrix(&LayerWeights::attn_v, h_.n_embd, h_.n_embd_v(il_));
    matrix(&LayerWeights::attn_output, h_.n_embd_q(il_), h_.n_embd);
    attention_biases();
}

void TensorList::attention_biases() {
    bias(&LayerWeights::attn_q_bias, h_.n_embd_q(il_));
    bias(&LayerWeights::attn_k_bias, h_.n_embd_k(il_));
    bias(&LayerWeights::attn_v_bias, h_.n_embd_v(il_));
    bias(&LayerWeights::attn_output_bias, h_.n_embd);
}

// The next n_rows rows of a tensor, as one of its own.
void TensorList::part(ggml_tensor *LayerWeights::*slot, const TensorInfo &whole, int64_t &first_row,
                      int64_t n_rows) {
    const auto row_bytes =
        static_cast<int64_t>(ggml_row_size(static_cast<ggml_type>(whole.type), whole.ne[0]));
    TensorInfo info = whole;
    info.name = name_of(known_tensor(slot).name);
    info.ne[1] = n_rows;
    info.offset += first_row * row_bytes;
    info.n_bytes = n_rows * row_bytes;
    first_row += n_rows;
    request(weights_.layers[static_cast<size_t>(il_)].*slot, info, WeightUse::matrix);
}

void TensorList::fused_attention() {
    const int64_t n_q = h_.n_embd_q(il_);
    const int64_t n_k = h_.n_embd_k(il_);
    const int64_t n_v = h_.n_embd_v(il_);
    const TensorInfo *whole = find(name_of("attn_qkv.weight"), {h_.n_embd, n_q + n_k + n_v, 1, 1},
                                   WeightUse::matrix, Presence::optional);
    if (whole == nullptr) {
        attention();
        return;
    }
    int64_t first_row = 0;
    part(&LayerWeights::attn_q, *whole, first_row, n_q);
    part(&LayerWeights::attn_k, *whole, first_row, n_k);
    part(&LayerWeights::attn_v, *whole, first_row, n_v);
    matrix(&LayerWeights::attn_output, h_.n_embd_q(il_), h_.n_embd);
    attention_biases();
}

void TensorList::head_norms() {
    const Shape ne = {spec().head_dim, 1, 1, 1};
    layer_tensor(&LayerWeights::attn_q_norm, ne, WeightUse::vector);
    layer_tensor(&LayerWeights::attn_k_norm, ne, WeightUse::vector);
}

void TensorList::width_norms() {
    layer_tensor(&LayerWeights::attn_q_norm, {h_.n_embd_q(il_), 1, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::attn_k_norm, {h_.n_embd_k(il_), 1, 1, 1}, WeightUse::vector);
}

void TensorList::feed_forward() {
    if (h_.n_expert > 0) {
        experts();
        return;
    }
    const int64_t n_ff = spec().n_ff;
    matrix(&LayerWeights::ffn_gate, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_up, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_down, n_ff, h_.n_embd);
    bias(&LayerWeights::ffn_gate_bias, n_ff);
    bias(&LayerWeights::ffn_up_bias, n_ff);
    bias(&LayerWeights::ffn_down_bias, h_.n_embd);
}

void TensorList::fused_feed_forward() {
    const int64_t n_ff = spec().n_ff;
    const TensorInfo *whole = find(name_of("ffn_up.weight"), {h_.n_embd, 2 * n_ff, 1, 1},
                                   WeightUse::matrix, Presence::required);
    int64_t first_row = 0;
    part(&LayerWeights::ffn_gate, *whole, first_row, n_ff);
    part(&LayerWeights::ffn_up, *whole, first_row, n_ff);
    matrix(&LayerWeights::ffn_down, n_ff, h_.n_embd);
}

void TensorList::experts() {
    const std::string one = name_of("ffn_gate.0.weight");
    if (file_.find_tensor(one) != nullptr) {
        fail(ErrorKind::format,
             "{} has one tensor per expert ({}), a layout no longer read: convert the model again",
             file_.path(), one);
    }
    const int64_t n_ff = spec().n_ff;
    const int64_t n = h_.n_expert;
    matrix(&LayerWeights::ffn_gate_inp, h_.n_embd, n);
    layer_tensor(&LayerWeights::ffn_gate_exps, {h_.n_embd, n_ff, n, 1}, WeightUse::experts);
    layer_tensor(&LayerWeights::ffn_up_exps, {h_.n_embd, n_ff, n, 1}, WeightUse::experts);
    layer_tensor(&LayerWeights::ffn_down_exps, {n_ff, h_.n_embd, n, 1}, WeightUse::experts);
}

void TensorList::expert_biases() {
    const int64_t n_ff = spec().n_ff;
    const int64_t n = h_.n_expert;
    layer_tensor(&LayerWeights::ffn_gate_inp_bias, {n, 1, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_gate_exps_bias, {n_ff, n, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_up_exps_bias, {n_ff, n, 1, 1}, WeightUse::vector);
    layer_tensor(&LayerWeights::ffn_down_exps_bias, {h_.n_embd, n, 1, 1}, WeightUse::vector);
}

void TensorList::shared_expert(bool is_gated) {
    const int64_t n_ff = spec().n_ff_shared;
    if (is_gated) {
        layer_tensor(&LayerWeights::ffn_gate_inp_shexp, {h_.n_embd, 1, 1, 1}, WeightUse::matrix);
    }
    matrix(&LayerWeights::ffn_gate_shexp, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_up_shexp, h_.n_embd, n_ff);
    matrix(&LayerWeights::ffn_down_shexp, n_ff, h_.n_embd);
}

// Whether the name is "blk.N." and more, with N below the number of layers.
bool TensorList::is_in_a_layer(const std::string &name) const {
    constexpr std::string_view k_prefix = "blk.";
    int il = -1;
    const char *end = name.data() + name.size();
    return name.compare(0, k_prefix.size(), k_prefix) == 0 &&
           std::from_chars(name.data() + k_prefix.size(), end, il).ec == std::errc() && il >= 0 &&
           il < h_.n_layers;
}

// A layer's tensor that nobody asked for (fused QKV, shared experts, a further norm) means a
// variant that we would compute wrongly, so it is refused, as libllama does. Others are fine, but
// for those that are known to change a network.
std::vector<WeightRequest> TensorList::finish() {
    for (const TensorInfo &info : file_.tensors()) {
        const std::string &name = info.name;
        const bool is_old_rope = name.find("attn_rot_embd") != std::string::npos;
        const bool changes =
            is_in_a_layer(name)
                ? !is_old_rope
                : std::any_of(std::begin(k_changing_tensors), std::end(k_changing_tensors),
                              [&](std::string_view known) { return name.starts_with(known); });
        if (changes && asked_.count(name) == 0) {
            fail(ErrorKind::format,
                 "{}: tensor {} is not part of architecture {} as supported here: another variant "
                 "of the model?",
                 file_.path(), name, h_.arch);
        }
    }
    return std::move(requests_);
}

}  // namespace orthorank
