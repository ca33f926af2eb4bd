#include "model/layer_split.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/strings.h"
#include "model/device_memory.h"

namespace orthorank {

namespace {

std::vector<std::string> names_of(const std::vector<ggml_backend_dev_t> &devices) {
    std::vector<std::string> names;
    for (ggml_backend_dev_t device : devices) {
        names.emplace_back(ggml_backend_dev_name(device));
    }
    return names;
}

// Equal ones where a device does not say.
std::vector<double> free_memory(const std::vector<ggml_backend_dev_t> &devices) {
    std::vector<double> shares;
    for (ggml_backend_dev_t device : devices) {
        shares.push_back(static_cast<double>(memory_of(device).bytes_free));
    }
    const bool all_known =
        std::all_of(shares.begin(), shares.end(), [](double n) { return n > 0; });
    return all_known ? shares : std::vector<double>(devices.size(), 1.0);
}

std::vector<double> shares_from(const std::vector<ggml_backend_dev_t> &devices,
                                const std::string &text) {
    std::vector<double> shares;
    bool is_good = true;
    for (const std::string &part : split_at(text, ',')) {
        double share = 0;
        const char *end = part.data() + part.size();
        const auto [stop, error] = std::from_chars(part.data(), end, share);
        is_good =
            is_good && error == std::errc() && stop == end && std::isfinite(share) && share >= 0;
        shares.push_back(share);
    }
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    if (!is_good || shares.size() != devices.size() || sum <= 0 || !std::isfinite(sum)) {
        const std::string of = devices.size() == 1
                                   ? "the one device"
                                   : fmt::format("each of the {} devices", devices.size());
        fail(ErrorKind::usage,
             "--split {}: expected auto, none, or a share for {} ({}), such as {}", text, of,
             fmt::join(names_of(devices), ", "),
             fmt::join(std::vector<int>(devices.size(), 1), ","));
    }
    return shares;
}

std::vector<double> shares_of(const std::vector<ggml_backend_dev_t> &devices,
                              const std::string &text) {
    if (text == "none") {
        std::vector<double> shares(devices.size(), 0.0);
        shares.front() = 1;
        return shares;
    }
    return text == "auto" ? free_memory(devices) : shares_from(devices, text);
}

bool is_cpu(ggml_backend_dev_t device) {
    return ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

}  // namespace

int LayerSplit::device_of(int il) const {
    return of_layer[static_cast<size_t>(std::clamp(il, 0, static_cast<int>(of_layer.size()) - 1))];
}

ggml_backend_dev_t LayerSplit::device(int il) const {
    return devices[static_cast<size_t>(device_of(il))];
}

bool LayerSplit::has_layers(int device) const {
    return std::find(of_layer.begin(), of_layer.end(), device) != of_layer.end();
}

bool LayerSplit::is_split() const {
    return std::any_of(of_layer.begin(), of_layer.end(),
                       [this](int device) { return device != of_layer.front(); });
}

LayerSplit split_layers(const std::vector<ggml_backend_dev_t> &devices, const std::string &text,
                        const std::vector<int64_t> &layer_bytes) {
    CHECK(!devices.empty() && !layer_bytes.empty());
    std::vector<double> ends = shares_of(devices, text);
    std::partial_sum(ends.begin(), ends.end(), ends.begin());
    const auto n_bytes =
        static_cast<double>(std::accumulate(layer_bytes.begin(), layer_bytes.end(), int64_t{0}));
    std::vector<ggml_backend_dev_t> of_layer;
    double before = 0;
    for (const int64_t bytes : layer_bytes) {
        // The device in whose part the middle of the layer falls.
        const double middle = (before + static_cast<double>(bytes) / 2) / n_bytes * ends.back();
        const auto end = std::upper_bound(ends.begin(), ends.end() - 1, middle);
        of_layer.push_back(devices[static_cast<size_t>(end - ends.begin())]);
        before += static_cast<double>(bytes);
    }
    LayerSplit split;
    for (ggml_backend_dev_t device : devices) {
        if (!is_cpu(device) &&
            std::find(of_layer.begin(), of_layer.end(), device) != of_layer.end()) {
            split.devices.push_back(device);
        }
    }
    split.devices.push_back(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    for (ggml_backend_dev_t device : of_layer) {
        const auto at = std::find(split.devices.begin(), split.devices.end(), device);
        split.of_layer.push_back(static_cast<int>(at - split.devices.begin()));
        CHECK(at != split.devices.end());
    }
    return split;
}

}  // namespace orthorank
