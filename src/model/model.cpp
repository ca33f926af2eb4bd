#include "model/model.h"

#include <ggml.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "model/devices.h"
#include "model/file_type.h"
#include "model/fingerprint.h"
#include "model/gguf_file.h"
#include "model/vocab.h"
#include "model/weight_list.h"
#include "model/weight_store.h"

namespace orthorank {

struct Model::Impl {
    std::string path;
    Hparams hparams;
    std::vector<ggml_backend_dev_t> devices;
    std::unique_ptr<WeightStore> store;
    Weights weights;  // pointers into the store
    std::unique_ptr<Vocab> vocab;
    std::string file_type;
    std::vector<TensorTypeCount> tensor_types;
    int64_t n_params = 0;
    std::string fingerprint;
};

namespace {

// Counts by type, the type with the most bytes first.
std::vector<TensorTypeCount> count_types(const GgufFile &file) {
    std::map<int, TensorTypeCount> by_type;
    for (const TensorInfo &tensor : file.tensors()) {
        TensorTypeCount &count = by_type[tensor.type];
        count.type = ggml_type_name(static_cast<ggml_type>(tensor.type));
        count.n_tensors++;
        count.bytes += tensor.n_bytes;
    }
    std::vector<TensorTypeCount> counts;
    for (const auto &[type, count] : by_type) {
        counts.push_back(count);
    }
    std::stable_sort(counts.begin(), counts.end(),
                     [](const auto &a, const auto &b) { return a.bytes > b.bytes; });
    return counts;
}

std::string file_type_of(const GgufFile &file, const std::vector<TensorTypeCount> &types) {
    const std::optional<int64_t> number = file.find_integer("general.file_type");
    const std::optional<std::string> name = number ? file_type_name(*number) : std::nullopt;
    if (name) {
        return *name;
    }
    std::string most = types.empty() ? "unknown" : types.front().type;
    std::transform(most.begin(), most.end(), most.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return most;
}

int64_t count_params(const std::vector<WeightRequest> &requests) {
    int64_t n = 0;
    for (const WeightRequest &request : requests) {
        const auto &ne = request.info->ne;
        n += request.is_tied ? 0 : ne[0] * ne[1] * ne[2] * ne[3];
    }
    return n;
}

void share_rope_freqs(Weights &weights) {
    for (LayerWeights &layer : weights.layers) {
        layer.rope_freqs = weights.layers.front().rope_freqs;
    }
}

}  // namespace

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() = default;

std::unique_ptr<Model> Model::load(const std::string &path, const ModelOptions &options) {
    std::unique_ptr<Model> model(new Model);
    Impl &m = *model->impl_;
    m.path = path;
    m.devices = choose_devices(options.device);
    const GgufFile file(path);
    m.hparams = read_hparams(file);
    const std::vector<WeightRequest> requests = list_weights(file, m.hparams, m.weights);
    m.vocab = Vocab::load(path);
    CHECK(m.vocab->n_tokens() == m.hparams.n_vocab);
    m.store = std::make_unique<WeightStore>(
        path, Placement{m.devices, options.use_mmap, options.repack, m.hparams.n_expert_used},
        requests);
    share_rope_freqs(m.weights);
    m.tensor_types = count_types(file);
    m.file_type = file_type_of(file, m.tensor_types);
    m.n_params = count_params(requests);
    m.fingerprint = model_fingerprint(file, m.hparams, requests, m.store->file());
    return model;
}

const std::string &Model::path() const {
    return impl_->path;
}

const Hparams &Model::hparams() const {
    return impl_->hparams;
}

const Weights &Model::weights() const {
    return impl_->weights;
}

const Vocab &Model::vocab() const {
    return *impl_->vocab;
}

const std::vector<ggml_backend_dev_t> &Model::devices() const {
    return impl_->devices;
}

const std::string &Model::file_type() const {
    return impl_->file_type;
}

const std::vector<TensorTypeCount> &Model::tensor_types() const {
    return impl_->tensor_types;
}

int64_t Model::n_params() const {
    return impl_->n_params;
}

std::vector<std::pair<std::string, int64_t>> Model::buffer_bytes() const {
    return impl_->store->buffer_bytes();
}

const std::string &Model::fingerprint() const {
    return impl_->fingerprint;
}

}  // namespace orthorank
