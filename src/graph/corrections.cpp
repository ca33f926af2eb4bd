#include "graph/corrections.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace orthorank {

namespace {

// Plain memory of the backend that layer il's weights are on. (A norm is never in a device's
// special layout; mapped weights are in memory that cannot be allocated more of.)
ggml_backend_buffer_type_t buffer_type_of(const Model &model, int il) {
    const LayerWeights &layer = model.weights().layers[static_cast<size_t>(il)];
    const auto has_norm = [&layer](const LayerTensor &tensor) {
        return tensor.kind == TensorKind::norm && layer.*tensor.slot != nullptr;
    };
    const auto norm = std::find_if(k_layer_tensors.begin(), k_layer_tensors.end(), has_norm);
    CHECK(norm != k_layer_tensors.end());
    ggml_backend_buffer_t buffer = (layer.*norm->slot)->buffer;
    if (ggml_backend_buffer_is_host(buffer)) {
        return ggml_backend_cpu_buffer_type();
    }
    return ggml_backend_dev_buffer_type(
        ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer)));
}

// Gives the context's tensors memory.
void allocate(ggml_context_ptr &ctx, ggml_backend_buffer_ptr &buffer, const Model &model, int il) {
    buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(ctx.get(), buffer_type_of(model, il)));
    if (!buffer) {
        fail(ErrorKind::limit, "no memory for the correction or probe of layer {}", il);
    }
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
}

void check_size(const std::string &where, const char *what, size_t found, size_t expected) {
    if (found != expected) {
        fail(ErrorKind::format, "{}: its {} has {} values, this model needs {}", where, what, found,
             expected);
    }
}

void set_values(ggml_tensor *tensor, const std::vector<float> &values, const std::string &where,
                const char *what) {
    std::vector<ggml_fp16_t> halves;
    if (tensor->type == GGML_TYPE_F16) {
        halves.resize(values.size());
        ggml_fp32_to_fp16_row(values.data(), halves.data(), static_cast<int64_t>(values.size()));
    }
    for (size_t i = 0; i < values.size(); ++i) {
        const float stored = halves.empty() ? values[i] : ggml_fp16_to_fp32(halves[i]);
        if (!std::isfinite(stored)) {
            fail(ErrorKind::format, "{}: its {} has the value {}, which {} cannot hold", where,
                 what, values[i], ggml_type_name(tensor->type));
        }
    }
    const void *data = halves.empty() ? static_cast<const void *>(values.data()) : halves.data();
    ggml_backend_tensor_set(tensor, data, 0, ggml_nbytes(tensor));
}

// Room for the descriptions of n tensors.
ggml_context_ptr make_context(size_t n) {
    return ggml_context_ptr(ggml_init({ggml_tensor_overhead() * n, nullptr, true}));
}

template <typename Entries>
bool release_unused_of(Entries &entries) {
    return std::erase_if(entries,
                         [](const auto &item) { return item.second.tensors.use_count() == 1; }) > 0;
}

}  // namespace

std::shared_ptr<const CorrectionTensors> CorrectionStore::upload(const CorrectionPtr &correction,
                                                                 int il, const std::string &where) {
    const Key<Correction> key{correction.get(), model_.split().device_of(il)};
    const auto found = corrections_.find(key);
    if (found != corrections_.end()) {
        return found->second.tensors;
    }
    const int n_embd = model_.hparams().n_embd;
    const int rank = correction->rank;
    if (correction->n_embd != n_embd || rank < 0) {
        fail(ErrorKind::format, "{}: its correction has width {} and rank {}, the model {}", where,
             correction->n_embd, rank, n_embd);
    }
    const size_t n_matrix = static_cast<size_t>(n_embd) * static_cast<size_t>(rank);
    check_size(where, "correction down", correction->down.size(), n_matrix);
    check_size(where, "correction up", correction->up.size(), n_matrix);
    check_size(where, "correction bias", correction->bias.size(), static_cast<size_t>(n_embd));
    auto tensors = std::make_shared<CorrectionTensors>();
    tensors->ctx = make_context(3);
    ggml_context *ctx = tensors->ctx.get();
    if (rank > 0) {
        const ggml_type type = type_ == CorrectionType::f16 ? GGML_TYPE_F16 : GGML_TYPE_F32;
        tensors->down = ggml_new_tensor_2d(ctx, type, n_embd, rank);
        tensors->up = ggml_new_tensor_2d(ctx, type, rank, n_embd);
    }
    tensors->bias = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, n_embd);
    allocate(tensors->ctx, tensors->buffer, model_, il);
    if (rank > 0) {
        ggml_set_name(tensors->down, "correction_down.weight");
        ggml_set_name(tensors->up, "correction_up.weight");
        set_values(tensors->down, correction->down, where, "correction down");
        set_values(tensors->up, correction->up, where, "correction up");
    }
    ggml_set_name(tensors->bias, "correction.bias");
    set_values(tensors->bias, correction->bias, where, "correction bias");
    corrections_[key] = {correction, tensors};
    return tensors;
}

std::shared_ptr<const ProbeTensors> CorrectionStore::upload(const ProbePtr &probe, int il,
                                                            const std::string &where) {
    const Key<Probe> key{probe.get(), model_.split().device_of(il)};
    const auto found = probes_.find(key);
    if (found != probes_.end()) {
        return found->second.tensors;
    }
    const int n_embd = model_.hparams().n_embd;
    check_size(where, "probe", probe->weight.size(), static_cast<size_t>(n_embd));
    auto tensors = std::make_shared<ProbeTensors>();
    tensors->ctx = make_context(1);
    tensors->weight = ggml_new_tensor_1d(tensors->ctx.get(), GGML_TYPE_F32, n_embd);
    allocate(tensors->ctx, tensors->buffer, model_, il);
    ggml_set_name(tensors->weight, "probe.weight");
    set_values(tensors->weight, probe->weight, where, "probe");
    probes_[key] = {probe, tensors};
    return tensors;
}

bool CorrectionStore::release_unused() {
    const bool has_released = release_unused_of(corrections_);
    return release_unused_of(probes_) || has_released;
}

int64_t CorrectionStore::bytes() const {
    size_t bytes = 0;
    for (const auto &[key, entry] : corrections_) {
        bytes += ggml_backend_buffer_get_size(entry.tensors->buffer.get());
    }
    for (const auto &[key, entry] : probes_) {
        bytes += ggml_backend_buffer_get_size(entry.tensors->buffer.get());
    }
    return static_cast<int64_t>(bytes);
}

}  // namespace orthorank
