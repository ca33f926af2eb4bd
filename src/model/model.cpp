#include "model/model.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

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
    bool use_mmap = true;
    Hparams hparams;
    LayerSplit split;
    std::vector<int64_t> device_bytes;  // of weights, by split.devices
    std::unique_ptr<WeightStore> store;
    // Pointers into the store; by phase, the second only when the types differ.
    std::array<Weights, 2> weights;
    Weights plain;  // the prefill's; without layers if there are no such copies
    std::array<WeightCopy, 2> copies;
    WeightTypes types;
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
        const auto &ne = request.info.ne;
        n += request.is_tied || request.is_repeated ? 0 : ne[0] * ne[1] * ne[2] * ne[3];
    }
    return n;
}

// What lies with each layer, with the first the embedding, with the last the head: a tied one too,
// which is there a second time where these two are not on one device. What two copies share counts
// once.
std::vector<int64_t> layer_bytes(const std::vector<WeightRequest> &requests, int n_layers) {
    std::vector<int64_t> bytes(static_cast<size_t>(n_layers), 0);
    std::set<std::tuple<int, int64_t, int>> seen;
    for (const WeightRequest &request : requests) {
        const int layer = std::clamp(request.layer, 0, n_layers - 1);
        if (seen.emplace(layer, request.info.offset, request.type).second) {
            const auto &ne = request.info.ne;
            bytes[static_cast<size_t>(layer)] += static_cast<int64_t>(
                ggml_row_size(static_cast<ggml_type>(request.type), ne[0]) * ne[1] * ne[2] * ne[3]);
        }
    }
    return bytes;
}

// Each tensor once, where it lies: on its layer's device, or on the CPU.
std::vector<int64_t> device_bytes(const std::vector<WeightRequest> &requests,
                                  const LayerSplit &split) {
    std::vector<int64_t> bytes(split.devices.size(), 0);
    std::set<const ggml_tensor *> seen;
    for (const WeightRequest &request : requests) {
        const ggml_tensor *tensor = *request.slot;
        if (!seen.insert(tensor).second) {
            continue;
        }
        const auto wanted = static_cast<size_t>(split.device_of(request.layer));
        ggml_backend_dev_t device =
            ggml_backend_buft_get_device(ggml_backend_buffer_get_type(tensor->buffer));
        const bool is_there = device == split.devices[wanted];
        bytes[is_there ? wanted : bytes.size() - 1] += static_cast<int64_t>(ggml_nbytes(tensor));
    }
    return bytes;
}

WeightCopy copy_of(const std::string &type, const std::vector<WeightRequest> &requests,
                   const WeightStore &store) {
    WeightCopy copy;
    copy.type = type;
    ConversionError error;
    for (const WeightRequest &request : requests) {
        if (request.is_convertible) {
            copy.bytes += static_cast<int64_t>(ggml_nbytes(*request.slot));
            error.add(store.error_of(*request.slot));
        }
    }
    copy.nmse = error.nmse();
    return copy;
}

// Keys are read where they were made.
void check_shared_keys(const Hparams &hparams, const LayerSplit &split) {
    for (int il = 0; il < hparams.n_layers; ++il) {
        const int source = hparams.layers[static_cast<size_t>(il)].kv_layer;
        if (source >= 0 && split.device_of(source) != split.device_of(il)) {
            const auto name_of = [&](int layer) {
                return ggml_backend_dev_name(split.device(layer));
            };
            fail(ErrorKind::usage,
                 "--split puts layer {} on {}, and layer {}, which reads its keys, on {}: give the "
                 "layers from {} on to one device",
                 source, name_of(source), il, name_of(il), hparams.start_of(hparams.tail_begin()));
        }
    }
}

}  // namespace

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::~Model() {
    impl_.reset();
    count_freed_buffers();
}

std::unique_ptr<Model> Model::load(const std::string &path, const ModelOptions &options) {
    std::unique_ptr<Model> model(new Model);
    Impl &m = *model->impl_;
    m.path = path;
    m.use_mmap = options.use_mmap;
    const std::vector<ggml_backend_dev_t> devices = choose_devices(options.device);
    const GgufFile file(path);
    m.hparams = read_hparams(file);
    m.types = options.weights;
    CHECK(!m.types.is_auto());
    std::vector<WeightRequest> requests = list_weights(file, m.hparams, m.weights[0]);
    hold_as(requests, m.types.prefill);
    std::vector<WeightRequest> all = requests;
    std::vector<WeightRequest> decode_requests;
    if (m.types.decode != m.types.prefill) {
        decode_requests = list_weights(file, m.hparams, m.weights[1]);
        hold_as(decode_requests, m.types.decode);
        all.insert(all.end(), decode_requests.begin(), decode_requests.end());
    }
    if (options.plain_copies) {
        std::vector<WeightRequest> plain_requests = list_weights(file, m.hparams, m.plain);
        hold_as(plain_requests, m.types.prefill);
        for (WeightRequest &request : plain_requests) {
            request.is_plain = true;
        }
        all.insert(all.end(), plain_requests.begin(), plain_requests.end());
    }
    m.split = split_layers(devices, options.split, layer_bytes(all, m.hparams.n_layers));
    check_shared_keys(m.hparams, m.split);
    m.vocab = Vocab::load(path);
    CHECK(m.vocab->n_tokens() == m.hparams.n_vocab);
    m.store = std::make_unique<WeightStore>(
        path, Placement{m.split, options.use_mmap, options.repack, m.hparams.n_expert_used}, all);
    m.device_bytes = device_bytes(all, m.split);
    m.copies[0] = copy_of(m.types.prefill, requests, *m.store);
    m.copies[1] =
        decode_requests.empty() ? m.copies[0] : copy_of(m.types.decode, decode_requests, *m.store);
    m.tensor_types = count_types(file);
    m.file_type = file_type_of(file, m.tensor_types);
    m.n_params = count_params(requests);
    m.fingerprint = model_fingerprint(file, m.hparams, requests, m.store->file());
    return model;
}

const std::string &Model::path() const {
    return impl_->path;
}

bool Model::use_mmap() const {
    return impl_->use_mmap;
}

const Hparams &Model::hparams() const {
    return impl_->hparams;
}

const Weights &Model::weights(Phase phase, bool plain) const {
    const bool is_second = impl_->types.prefill != impl_->types.decode && phase == Phase::decode;
    if (plain && !is_second && !impl_->plain.layers.empty()) {
        return impl_->plain;
    }
    return impl_->weights[is_second ? 1 : 0];
}

const WeightCopy &Model::weight_copy(Phase phase) const {
    return impl_->copies[phase == Phase::prefill ? 0 : 1];
}

WeightTypes Model::weight_types() const {
    return impl_->types;
}

std::string Model::type_in_use() const {
    return impl_->types == WeightTypes{} ? impl_->file_type
                                         : impl_->file_type + " as " + impl_->types.text();
}

const Vocab &Model::vocab() const {
    return *impl_->vocab;
}

const LayerSplit &Model::split() const {
    return impl_->split;
}

const std::vector<ggml_backend_dev_t> &Model::devices() const {
    return impl_->split.devices;
}

std::vector<DeviceShare> Model::shares() const {
    const LayerSplit &split = impl_->split;
    std::vector<DeviceShare> shares;
    for (size_t i = 0; i < split.devices.size(); ++i) {
        DeviceShare share;
        share.device = ggml_backend_dev_name(split.devices[i]);
        share.description = ggml_backend_dev_description(split.devices[i]);
        share.weight_bytes = impl_->device_bytes[i];
        for (int il = 0; il < impl_->hparams.n_layers; ++il) {
            if (split.device_of(il) == static_cast<int>(i)) {
                share.layers.push_back(il);
            }
        }
        if (share.weight_bytes > 0) {
            shares.push_back(std::move(share));
        }
    }
    return shares;
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
