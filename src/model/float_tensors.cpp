#include "model/float_tensors.h"

#include <ggml-cpp.h>
#include <gguf.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/output_file.h"
#include "model/file_bytes.h"
#include "model/gguf_file.h"
#include "model/weight_store.h"

namespace orthorank {

namespace {

int64_t n_values(const std::vector<int64_t> &ne) {
    int64_t n = 1;
    for (const int64_t dimension : ne) {
        n *= dimension;
    }
    return n;
}

std::string shape_of(const std::vector<int64_t> &ne) {
    return fmt::format("[{}]", fmt::join(ne, ", "));
}

void check_finite(const std::vector<float> &values, const std::string &where) {
    for (size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            fail(ErrorKind::format, "{}: value {} is {}, expected a finite number", where, i,
                 values[i]);
        }
    }
}

// The values in F16; a value that it cannot hold is an error.
std::vector<ggml_fp16_t> as_f16(const FloatTensor &tensor) {
    std::vector<ggml_fp16_t> halves(tensor.values.size());
    ggml_fp32_to_fp16_row(tensor.values.data(), halves.data(), static_cast<int64_t>(halves.size()));
    for (size_t i = 0; i < halves.size(); ++i) {
        if (!std::isfinite(ggml_fp16_to_fp32(halves[i]))) {
            fail(ErrorKind::format, "{}: its value {} cannot be stored in F16, in F32 it can",
                 tensor.name, tensor.values[i]);
        }
    }
    return halves;
}

void check_tensor(const FloatTensor &tensor) {
    CHECK(n_values(tensor.ne) == static_cast<int64_t>(tensor.values.size()));
    check_finite(tensor.values, tensor.name);
}

// The bytes of a GGUF file with everything in it.
std::string gguf_bytes(const gguf_context *gguf) {
    char *data = nullptr;
    size_t n = 0;
    std::FILE *stream = ::open_memstream(&data, &n);
    CHECK(stream != nullptr);
    const bool is_written = gguf_write_to_file_ptr(gguf, stream, /*only_meta=*/false);
    std::fclose(stream);
    std::string bytes(data, n);
    std::free(data);
    CHECK(is_written);
    return bytes;
}

}  // namespace

void set_float_metadata(gguf_context *gguf, const FloatMetadata &metadata) {
    for (const auto &[key, value] : metadata.texts) {
        gguf_set_val_str(gguf, key.c_str(), value.c_str());
    }
    for (const auto &[key, value] : metadata.integers) {
        gguf_set_val_u32(gguf, key.c_str(), value);
    }
}

void set_float_arrays(gguf_context *gguf, const std::vector<FloatTensor> &tensors) {
    for (const FloatTensor &tensor : tensors) {
        check_tensor(tensor);
        const std::string key = k_array_prefix + tensor.name;
        if (tensor.is_f16) {
            const std::vector<ggml_fp16_t> halves = as_f16(tensor);
            gguf_set_arr_data(gguf, key.c_str(), GGUF_TYPE_UINT16, halves.data(), halves.size());
        } else {
            gguf_set_arr_data(gguf, key.c_str(), GGUF_TYPE_FLOAT32, tensor.values.data(),
                              tensor.values.size());
        }
    }
}

std::string write_float_file(const std::string &path, const FloatMetadata &metadata,
                             const std::vector<FloatTensor> &tensors) {
    const gguf_context_ptr gguf(gguf_init_empty());
    set_float_metadata(gguf.get(), metadata);
    size_t n_bytes = 0;
    for (const FloatTensor &tensor : tensors) {
        n_bytes += tensor.values.size() * sizeof(float) + ggml_tensor_overhead() + 64;
    }
    const ggml_context_ptr ctx(ggml_init({n_bytes + 64, nullptr, /*no_alloc=*/false}));
    CHECK(ctx != nullptr);
    for (const FloatTensor &tensor : tensors) {
        check_tensor(tensor);
        ggml_tensor *stored =
            ggml_new_tensor(ctx.get(), tensor.is_f16 ? GGML_TYPE_F16 : GGML_TYPE_F32,
                            static_cast<int>(tensor.ne.size()), tensor.ne.data());
        ggml_set_name(stored, tensor.name.c_str());
        if (tensor.is_f16) {
            std::memcpy(stored->data, as_f16(tensor).data(), ggml_nbytes(stored));
        } else {
            std::memcpy(stored->data, tensor.values.data(), ggml_nbytes(stored));
        }
        gguf_add_tensor(gguf.get(), stored);
    }
    const std::string bytes = gguf_bytes(gguf.get());
    write_file_atomically(path, bytes);
    return fnv1a_hex(bytes);
}

FloatReader::FloatReader(const std::string &path, Kind kind)
    : kind_(kind), file_(std::make_unique<GgufFile>(path)) {
    if (kind == Kind::tensors) {
        bytes_ = std::make_unique<FileBytes>(path, /*use_mmap=*/false);
    }
}

FloatReader::~FloatReader() = default;

const std::string &FloatReader::path() const {
    return file_->path();
}

int64_t FloatReader::integer(const std::string &key, int64_t low, int64_t high) const {
    return file_->integer(key, low, high);
}

std::string FloatReader::text(const std::string &key) const {
    return file_->find_text(key).value_or("");
}

std::vector<float> FloatReader::read(const std::string &name,
                                     const std::vector<int64_t> &ne) const {
    std::vector<float> values =
        kind_ == Kind::tensors ? read_tensor(name, ne) : read_array(name, n_values(ne));
    check_finite(values, fmt::format("{}: {}", file_->path(), name));
    return values;
}

std::vector<float> FloatReader::read_tensor(const std::string &name,
                                            const std::vector<int64_t> &ne) const {
    const TensorInfo *info = file_->find_tensor(name);
    if (info == nullptr) {
        fail(ErrorKind::format, "{}: tensor {} is missing", file_->path(), name);
    }
    std::array<int64_t, 4> expected = {1, 1, 1, 1};
    std::copy(ne.begin(), ne.end(), expected.begin());
    if (info->ne != expected) {
        fail(ErrorKind::format, "{}: tensor {} has the shape {}, expected {}", file_->path(), name,
             shape_text(info->ne), shape_of(ne));
    }
    if (info->type != GGML_TYPE_F32 && info->type != GGML_TYPE_F16) {
        fail(ErrorKind::format, "{}: tensor {} is of type {}, expected f32 or f16", file_->path(),
             name, ggml_type_name(static_cast<ggml_type>(info->type)));
    }
    return read_as_f32(*bytes_, *info);
}

std::vector<float> FloatReader::read_array(const std::string &name, int64_t n) const {
    std::vector<float> values = file_->floats(k_array_prefix + name);
    if (static_cast<int64_t>(values.size()) != n) {
        fail(ErrorKind::format, "{}: key {}{} has {} values, expected {}", file_->path(),
             k_array_prefix, name, values.size(), n);
    }
    return values;
}

}  // namespace orthorank
