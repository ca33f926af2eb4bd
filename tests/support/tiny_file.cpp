// A made file's tensors: found, taken out, written.
#include <algorithm>
#include <stdexcept>

#include "support/tiny_gguf.h"

namespace orthorank::test {

namespace {

// Sets the tensor's data from F32 values, repeated or cut to its size.
void fill(ggml_tensor *tensor, const std::vector<float> &values) {
    std::vector<float> data(static_cast<size_t>(ggml_nelements(tensor)));
    for (size_t i = 0; i < data.size() && !values.empty(); i++) {
        data[i] = values[i % values.size()];
    }
    if (tensor->type == GGML_TYPE_F32) {
        std::copy(data.begin(), data.end(), static_cast<float *>(tensor->data));
    } else {
        ggml_quantize_chunk(tensor->type, data.data(), tensor->data, 0, ggml_nrows(tensor),
                            tensor->ne[0], nullptr);
    }
}

}  // namespace

TinyTensor &TinyFile::tensor(const std::string &tensor_name) {
    for (TinyTensor &tensor : tensors) {
        if (tensor.name == tensor_name) {
            return tensor;
        }
    }
    throw std::logic_error("no tensor " + tensor_name);
}

void TinyFile::remove_tensor(const std::string &tensor_name) {
    const TinyTensor &found = tensor(tensor_name);
    tensors.erase(tensors.begin() + (&found - tensors.data()));
}

void TinyFile::write(const std::string &path) const {
    size_t n_bytes = 0;
    for (const TinyTensor &tensor : tensors) {
        size_t n = 1;
        for (const int64_t dim : tensor.ne) {
            n *= static_cast<size_t>(dim);
        }
        n_bytes += n * sizeof(float) + ggml_tensor_overhead() + 64;
    }
    const ggml_context_ptr ctx{ggml_init({n_bytes, nullptr, false})};
    gguf_context_ptr out{gguf_init_empty()};
    gguf_set_kv(out.get(), meta.get());
    if (gguf_find_key(meta.get(), GGUF_KEY_GENERAL_ALIGNMENT) >= 0) {
        // A context takes its alignment from a file only.
        gguf_write_to_file(out.get(), path.c_str(), /*only_meta=*/true);
        out.reset(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
    }
    for (const TinyTensor &source : tensors) {
        ggml_tensor *tensor = ggml_new_tensor(ctx.get(), source.type,
                                              static_cast<int>(source.ne.size()), source.ne.data());
        ggml_set_name(tensor, source.name.c_str());
        fill(tensor, source.values);
        gguf_add_tensor(out.get(), tensor);
    }
    if (!gguf_write_to_file(out.get(), path.c_str(), /*only_meta=*/false)) {
        throw std::runtime_error("cannot write " + path);
    }
}

}  // namespace orthorank::test
