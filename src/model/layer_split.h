// Which device holds and computes which layers. Plain data, made once for a model.
#pragma once

#include <ggml-backend.h>

#include <cstdint>
#include <string>
#include <vector>

namespace orthorank {

struct LayerSplit {
    // Those with layers, each once, and a CPU: the last, for what no other computes.
    std::vector<ggml_backend_dev_t> devices;
    std::vector<int> of_layer;  // an index into devices for each layer

    // The device of layer il. What comes before the first layer (il < 0: the embedding) and behind
    // the last one (the head) is with that layer.
    int device_of(int il) const;
    // The same, itself.
    ggml_backend_dev_t device(int il) const;
    bool has_layers(int device) const;
    // Whether more than one device has layers.
    bool is_split() const;
};

// Layers over devices (each once) in the order given, each a range of them. text: "none", all on
// the first device; "auto", by their free memory; or a share for each device, such as "3,1".
// layer_bytes: of each layer with what lies with it; they count, so a device may get none. Throws
// Error{usage} for other texts.
LayerSplit split_layers(const std::vector<ggml_backend_dev_t> &devices, const std::string &text,
                        const std::vector<int64_t> &layer_bytes);

}  // namespace orthorank
