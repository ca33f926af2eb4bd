// Owns the memory of a model's weights: buffers of the devices, tensors in them, and the mapped
// file. Const after loading.
#pragma once

#include <ggml-cpp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/file_bytes.h"
#include "model/layer_split.h"
#include "model/weight_conversion.h"
#include "model/weight_list.h"

namespace orthorank {

// Where weights may go.
struct Placement {
    LayerSplit split;  // a layer's weights go to its device, or, if that cannot, to the CPU
    bool use_mmap = true;
    bool repack = true;
    int n_expert_used = 0;
};

class WeightStore {
 public:
    // Places and loads everything in `requests`, and sets their slots. Throws Error{format} when no
    // device computes with a tensor's type, Error{limit} when memory is short, Error{file}.
    WeightStore(const std::string &path, Placement placement,
                const std::vector<WeightRequest> &requests);
    ~WeightStore();

    // The file that the weights come from.
    const FileBytes &file() const { return *file_; }
    // Bytes of weights by buffer type name, mapped ones included.
    const std::vector<std::pair<std::string, int64_t>> &buffer_bytes() const { return n_bytes_; }
    // Of a tensor in another type than the file's; zeros for others.
    ConversionError error_of(const ggml_tensor *tensor) const;

 private:
    struct Group;  // the tensors of one buffer type, or those that stay in the mapped file
    Group &group_for(ggml_backend_buffer_type_t type, bool is_mapped, size_t max_tensors);
    bool can_stay_mapped(const WeightRequest &request, ggml_backend_buffer_type_t type) const;
    void place(const std::vector<WeightRequest> &requests);
    void map_group(Group &group);
    void upload_group(Group &group);

    std::string path_;
    Placement placement_;
    // Order matters: groups' buffers may lie over the file's mapping and are destroyed first.
    std::unique_ptr<FileBytes> file_;
    std::vector<std::unique_ptr<Group>> groups_;
    std::vector<std::pair<std::string, int64_t>> n_bytes_;
    std::unordered_map<const ggml_tensor *, ConversionError> errors_;
};

// One weight as F32 values, read from the file.
std::vector<float> read_as_f32(const FileBytes &file, const TensorInfo &info);

}  // namespace orthorank
