#include "model/layer_sample.h"

#include <ggml.h>

#include <algorithm>

#include "base/error.h"
#include "model/devices.h"
#include "model/fingerprint.h"

namespace orthorank {

LayerSample::LayerSample(const std::string &gguf_path, const std::string &device)
    : file_(gguf_path), devices_(first_device(device)), hparams_(read_hparams(file_)) {
    for (const WeightRequest &request : list_weights(file_, hparams_, weights_)) {
        if (request.is_convertible) {
            requests_.push_back(request);
        }
    }
    prefix_ = fmt::format("blk.{}.", hparams_.n_layers / 2);
}

bool LayerSample::can_hold(const std::string &type) const {
    for (const WeightRequest &request : requests_) {
        if (request.info.ne[0] % ggml_blck_size(static_cast<ggml_type>(ggml_type_of(type))) != 0) {
            return false;
        }
    }
    return true;
}

bool LayerSample::is_held_as(const std::string &type) const {
    for (const WeightRequest &request : requests_) {
        if (request.info.type != ggml_type_of(type)) {
            return false;
        }
    }
    return true;
}

LayerSample::Matrices LayerSample::load(const std::string &type, bool repack) const {
    std::vector<WeightRequest> all = requests_;
    hold_as(all, type);
    Matrices matrices;
    std::vector<WeightRequest> sample;
    std::vector<ggml_tensor *> slots(all.size(), nullptr);
    for (WeightRequest &request : all) {
        const auto &ne = request.info.ne;
        matrices.model_bytes += static_cast<int64_t>(
            ggml_row_size(static_cast<ggml_type>(request.type), ne[0]) * ne[1] * ne[2]);
        if (request.use == WeightUse::matrix && request.info.name.starts_with(prefix_)) {
            request.slot = &slots[sample.size()];
            sample.push_back(request);
        }
    }
    matrices.store = std::make_unique<WeightStore>(
        file_.path(), Placement{{devices_, {0}}, true, repack, hparams_.n_expert_used}, sample);
    slots.resize(sample.size());
    matrices.tensors = std::move(slots);
    ConversionError error;
    for (const ggml_tensor *tensor : matrices.tensors) {
        error.add(matrices.store->error_of(tensor));
    }
    matrices.nmse = error.nmse();
    return matrices;
}

std::string LayerSample::description() const {
    std::string text;
    for (const WeightRequest &request : requests_) {
        if (request.use == WeightUse::matrix && request.info.name.starts_with(prefix_)) {
            text += fmt::format("{}{} {}x{}", text.empty() ? "" : ", ",
                                ggml_type_name(static_cast<ggml_type>(request.info.type)),
                                request.info.ne[0], request.info.ne[1]);
        }
    }
    const FileBytes bytes(file_.path(), true);
    return text + ", weights " + weights_digest(requests_, bytes);
}

double LayerSample::largest_weight() const {
    const FileBytes bytes(file_.path(), true);
    double largest = 0;
    for (const WeightRequest &request : requests_) {
        largest = std::max(largest, largest_value(bytes, request.info));
        bytes.drop(request.info.offset, request.info.n_bytes);
    }
    return largest;
}

}  // namespace orthorank
