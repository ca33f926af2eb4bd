#include "model/not_finite.h"

#include <cmath>

#include "base/error.h"
#include "model/file_bytes.h"
#include "model/gguf_file.h"
#include "model/weight_conversion.h"
#include "model/weight_list.h"

namespace orthorank {

namespace {

// A tensor's name, or nothing when all weights are finite.
std::string find_damaged_weight(const std::string &gguf_path) {
    const GgufFile file(gguf_path);
    const FileBytes bytes(gguf_path, /*use_mmap=*/true);
    Weights weights;
    for (const WeightRequest &request : list_weights(file, read_hparams(file), weights)) {
        const double largest = largest_value(bytes, request.info);
        bytes.drop(request.info.offset, request.info.n_bytes);
        if (!std::isfinite(largest)) {
            return request.info.name;
        }
    }
    return {};
}

}  // namespace

void fail_not_finite(const std::string &gguf_path, const std::string &what,
                     const std::string &advice) {
    const std::string tensor = find_damaged_weight(gguf_path);
    if (!tensor.empty()) {
        fail(ErrorKind::format,
             "{}: {} are not numbers (NaN or infinity), since tensor {} has some: the file is "
             "damaged, get it again",
             gguf_path, what, tensor);
    }
    fail(ErrorKind::limit, "{}: {} are not finite numbers: {}", gguf_path, what, advice);
}

}  // namespace orthorank
