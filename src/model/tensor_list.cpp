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
constexpr std::string_view k_changing_tensors[] = {"output.scale",
                                                   "output.input_scale",
                                                   "output.bias",
                                                   "output_norm.bias",
                                                   "token_embd_norm.weight",
                                                   "position_embd",
                                                   "rope_freqs.weight",
                                                   "rope_factors_long.weight",
                                                   "dense_2.weight",
                                                   "rope_factors_short.weight",
                                                   "dense_3.weight",
                                                   "per_layer_token_embd",
                                                   "per_layer_model_proj",
                                                   "per_layer_proj_norm"};

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
    add_layer_embeddings();
    il_ = h_.n_layers;
    add(weights_.output_norm, "output_norm.weight", {h_.n_embd, 1, 1, 1}, WeightUse::vector);
    requests_.back().is_norm = true;
    if (!add(weights_.output, "output.weight", ne, WeightUse::matrix, Presence::optional)) {
        WeightRequest tied = requests_.front();  // the embedding's
        tied.slot = &weights_.output;
        tied.layer = il_;
        tied.use = WeightUse::matrix;
        tied.is_convertible = true;
        tied.is_tied = true;
        requests_.push_back(tied);
    }
}

// A layer's part of a row is a view of it, which must begin where a block of its type begins.
void TensorList::add_layer_embeddings() {
    const int64_t n = h_.n_embd_per_layer;
    if (n == 0) {
        return;
    }
    constexpr const char *k_name = "per_layer_token_embd.weight";
    add(weights_.ple_token_embd, k_name, {n * h_.n_layers, h_.n_vocab, 1, 1}, WeightUse::rows);
    const auto type = static_cast<ggml_type>(requests_.back().info.type);
    if (n % ggml_blck_size(type) != 0) {
        fail(ErrorKind::format,
             "{}: tensor {} has type {}, which needs {} numbers for each layer "
             "divisible by {}",
             file_.path(), k_name, ggml_type_name(type), n, ggml_blck_size(type));
    }
}

// A vector outside the layers that each of them has.
void TensorList::one_for_all(ggml_tensor *LayerWeights::*slot, const char *name, int64_t n,
                             Presence presence) {
    if (add(weights_.layers[static_cast<size_t>(il_)].*slot, name, {n, 1, 1, 1}, WeightUse::vector,
            presence)) {
        requests_.back().is_repeated = !repeated_.insert(name).second;
    }
}

void TensorList::rope_factors(ggml_tensor *LayerWeights::*slot, const char *name) {
    if (spec().rotation.has_factors) {
        one_for_all(slot, name, spec().rotation.n_rot / 2, Presence::optional);
    }
}

void TensorList::rope_freqs() {
    rope_factors(&LayerWeights::rope_freqs, "rope_freqs.weight");
}

void TensorList::rope_by_context() {
    rope_factors(&LayerWeights::rope_long, "rope_factors_long.weight");
    rope_factors(&LayerWeights::rope_short, "rope_factors_short.weight");
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
