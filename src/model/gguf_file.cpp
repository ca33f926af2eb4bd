#include "model/gguf_file.h"

#include <gguf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "model/ggml_log.h"

namespace orthorank {

namespace {

// A value's type in words, for messages.
std::string type_text(const gguf_context *gguf, int64_t id) {
    const gguf_type type = gguf_get_kv_type(gguf, id);
    if (type == GGUF_TYPE_ARRAY) {
        return fmt::format("array of {} {}", gguf_get_arr_n(gguf, id),
                           gguf_type_name(gguf_get_arr_type(gguf, id)));
    }
    return type == GGUF_TYPE_STRING ? "string" : gguf_type_name(type);
}

bool is_integer_type(gguf_type type) {
    switch (type) {
        case GGUF_TYPE_UINT8:
        case GGUF_TYPE_INT8:
        case GGUF_TYPE_UINT16:
        case GGUF_TYPE_INT16:
        case GGUF_TYPE_UINT32:
        case GGUF_TYPE_INT32:
        case GGUF_TYPE_UINT64:
        case GGUF_TYPE_INT64:
            return true;
        default:
            return false;
    }
}

template <typename T>
int64_t read_integer(const void *data, size_t i) {
    T value;
    std::memcpy(&value, static_cast<const char *>(data) + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, uint64_t>) {
        constexpr auto k_max = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
        return static_cast<int64_t>(value < k_max ? value : k_max);
    }
    return static_cast<int64_t>(value);
}

// Element i of integers of the given type. 64-bit values beyond int64 become its largest value.
int64_t integer_at(const void *data, gguf_type type, size_t i) {
    switch (type) {
        case GGUF_TYPE_UINT8:
            return read_integer<uint8_t>(data, i);
        case GGUF_TYPE_INT8:
            return read_integer<int8_t>(data, i);
        case GGUF_TYPE_UINT16:
            return read_integer<uint16_t>(data, i);
        case GGUF_TYPE_INT16:
            return read_integer<int16_t>(data, i);
        case GGUF_TYPE_UINT32:
            return read_integer<uint32_t>(data, i);
        case GGUF_TYPE_INT32:
            return read_integer<int32_t>(data, i);
        case GGUF_TYPE_UINT64:
            return read_integer<uint64_t>(data, i);
        default:
            return read_integer<int64_t>(data, i);
    }
}

std::string range_text(int64_t low, int64_t high) {
    return fmt::format("{} to {}", low, high);
}

// What kind of integer is wanted, for messages about other types.
std::string integer_text(int64_t low, int64_t high) {
    return low == 0   ? "a non-negative integer"
           : low == 1 ? "a positive integer"
                      : "an integer of " + range_text(low, high);
}

}  // namespace

std::string shape_text(const std::array<int64_t, 4> &ne) {
    size_t n_dims = 4;
    while (n_dims > 1 && ne[n_dims - 1] == 1) {
        n_dims--;
    }
    return fmt::format("[{}]", fmt::join(ne.begin(), ne.begin() + n_dims, ", "));
}

void GgufFile::Deleter::operator()(gguf_context *context) const {
    gguf_free(context);
}

GgufFile::~GgufFile() = default;

GgufFile::GgufFile(const std::string &path) : path_(path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        fail(ErrorKind::file, "cannot open model {}: {}", path, std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        fail(ErrorKind::file, "model {} is {}, expected a GGUF file", path,
             S_ISDIR(status.st_mode) ? "a directory" : "not a regular file");
    }
    size_ = static_cast<int64_t>(status.st_size);
    check_header();

    capture_ggml_log();
    clear_ggml_log();
    gguf_.reset(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
    if (gguf_ == nullptr) {
        fail(ErrorKind::format, "{} is truncated or damaged (file is {} bytes): {}", path, size_,
             ggml_error_or("its header cannot be read"));
    }
    const std::optional<int64_t> n_parts = find_integer("split.count");
    if (n_parts.value_or(0) > 1) {
        fail(ErrorKind::format,
             "{} is one of {} parts of a model, and split models are not read: join them with "
             "`llama-gguf-split --merge`",
             path, *n_parts);
    }
    list_tensors();
}

GgufFile::GgufFile(const gguf_context *metadata, const std::string &path)
    : path_(path), gguf_(gguf_init_empty()) {
    gguf_set_kv(gguf_.get(), metadata);
}

// What gguf_init_from_file would say too, in words that tell the user what to do.
void GgufFile::check_header() {
    struct {
        char magic[4];
        uint32_t version;
    } header{};
    std::ifstream file(path_, std::ios::binary);
    if (!file) {
        fail(ErrorKind::file, "cannot open model {}: {}", path_, std::strerror(errno));
    }
    if (!file.read(reinterpret_cast<char *>(&header), sizeof(header))) {
        fail(ErrorKind::format, "{} is not a GGUF file: it has only {} bytes", path_, size_);
    }
    if (std::memcmp(header.magic, GGUF_MAGIC, sizeof(header.magic)) != 0) {
        fail(ErrorKind::format, "{} is not a GGUF file: it does not begin with \"GGUF\"", path_);
    }
    if ((header.version & 0xffff) == 0) {
        fail(ErrorKind::format, "{} is a GGUF file of the other byte order; convert it again",
             path_);
    }
    if (header.version < 2 || header.version > GGUF_VERSION) {
        fail(ErrorKind::format, "{} is GGUF version {}, expected 2 to {}; convert it again", path_,
             header.version, GGUF_VERSION);
    }
}

void GgufFile::list_tensors() {
    const int64_t n_tensors = gguf_get_n_tensors(gguf_.get());
    const auto data_offset = static_cast<int64_t>(gguf_get_data_offset(gguf_.get()));
    tensors_.reserve(static_cast<size_t>(n_tensors));
    for (int64_t i = 0; i < n_tensors; i++) {
        TensorInfo tensor;
        tensor.name = gguf_get_tensor_name(gguf_.get(), i);
        tensor.type = gguf_get_tensor_type(gguf_.get(), i);
        const int64_t *ne = gguf_get_tensor_ne(gguf_.get(), i);
        std::copy(ne, ne + tensor.ne.size(), tensor.ne.begin());
        const size_t offset = gguf_get_tensor_offset(gguf_.get(), i);
        const size_t n_bytes = gguf_get_tensor_size(gguf_.get(), i);
        const auto n_available = static_cast<size_t>(size_ - data_offset);
        if (offset > n_available || n_bytes > n_available - offset) {
            fail(ErrorKind::format, "{} is {} bytes, tensor {} needs {} from byte {}: truncated?",
                 path_, size_, tensor.name, n_bytes, static_cast<size_t>(data_offset) + offset);
        }
        tensor.offset = data_offset + static_cast<int64_t>(offset);
        tensor.n_bytes = static_cast<int64_t>(n_bytes);
        tensor_ids_.emplace(tensor.name, tensors_.size());
        tensors_.push_back(std::move(tensor));
    }
}

int64_t GgufFile::id_of(const std::string &key) const {
    return gguf_find_key(gguf_.get(), key.c_str());
}

bool GgufFile::has(const std::string &key) const {
    return id_of(key) >= 0;
}

bool GgufFile::is_array(const std::string &key) const {
    return has(key) && gguf_get_kv_type(gguf_.get(), id_of(key)) == GGUF_TYPE_ARRAY;
}

void GgufFile::wrong_type(const std::string &key, int64_t id, const char *expected) const {
    fail(ErrorKind::format, "{}: key {}: found {}, expected {}", path_, key,
         type_text(gguf_.get(), id), expected);
}

void GgufFile::missing(const std::string &key, const char *expected) const {
    fail(ErrorKind::format, "{}: key {} is missing, expected {}", path_, key, expected);
}

std::optional<int64_t> GgufFile::find_integer(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        return {};
    }
    const gguf_type type = gguf_get_kv_type(gguf_.get(), id);
    if (!is_integer_type(type)) {
        wrong_type(key, id, "an integer");
    }
    return integer_at(gguf_get_val_data(gguf_.get(), id), type, 0);
}

std::optional<double> GgufFile::find_number(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        return {};
    }
    double value = 0;
    switch (gguf_get_kv_type(gguf_.get(), id)) {
        case GGUF_TYPE_FLOAT32:
            value = gguf_get_val_f32(gguf_.get(), id);
            break;
        case GGUF_TYPE_FLOAT64:
            value = gguf_get_val_f64(gguf_.get(), id);
            break;
        default:
            wrong_type(key, id, "a floating-point number");
    }
    if (!std::isfinite(value)) {
        fail(ErrorKind::format, "{}: key {}: found {}, expected a finite number", path_, key,
             value);
    }
    return value;
}

std::optional<std::vector<double>> GgufFile::find_scalars(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        return {};
    }
    gguf_type type = gguf_get_kv_type(gguf_.get(), id);
    const bool is_array = type == GGUF_TYPE_ARRAY;
    type = is_array ? gguf_get_arr_type(gguf_.get(), id) : type;
    const bool is_float = type == GGUF_TYPE_FLOAT32 || type == GGUF_TYPE_FLOAT64;
    if (!is_float && type != GGUF_TYPE_BOOL && !is_integer_type(type)) {
        return {};
    }
    const void *data =
        is_array ? gguf_get_arr_data(gguf_.get(), id) : gguf_get_val_data(gguf_.get(), id);
    std::vector<double> values(is_array ? gguf_get_arr_n(gguf_.get(), id) : 1);
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = type == GGUF_TYPE_FLOAT32   ? static_cast<const float *>(data)[i]
                    : type == GGUF_TYPE_FLOAT64 ? static_cast<const double *>(data)[i]
                    : type == GGUF_TYPE_BOOL
                        ? static_cast<double>(integer_at(data, GGUF_TYPE_INT8, i))
                        : static_cast<double>(integer_at(data, type, i));
    }
    return values;
}

std::optional<bool> GgufFile::find_flag(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        return {};
    }
    if (gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_BOOL) {
        wrong_type(key, id, "true or false");
    }
    return gguf_get_val_bool(gguf_.get(), id);
}

std::optional<std::string> GgufFile::find_text(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        return {};
    }
    if (gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_STRING) {
        wrong_type(key, id, "a string");
    }
    return gguf_get_val_str(gguf_.get(), id);
}

int64_t GgufFile::integer(const std::string &key, int64_t low, int64_t high,
                          std::optional<int64_t> otherwise) const {
    const int64_t id = id_of(key);
    if (id >= 0 && gguf_get_kv_type(gguf_.get(), id) == GGUF_TYPE_ARRAY) {
        wrong_type(key, id, integer_text(low, high).c_str());
    }
    return integers(key, 1, low, high, otherwise).front();
}

std::vector<int64_t> GgufFile::integers(const std::string &key, int64_t n, int64_t low,
                                        int64_t high, std::optional<int64_t> otherwise) const {
    const int64_t id = id_of(key);
    const std::string expected = integer_text(low, high);
    if (id < 0) {
        if (!otherwise) {
            missing(key, expected.c_str());
        }
        return std::vector<int64_t>(static_cast<size_t>(n), *otherwise);
    }
    gguf_type type = gguf_get_kv_type(gguf_.get(), id);
    const bool is_array = type == GGUF_TYPE_ARRAY;
    const void *data = nullptr;
    if (is_array) {
        type = gguf_get_arr_type(gguf_.get(), id);
        // One array entry a layer; longer arrays occur (libllama reads the first n too).
        const bool is_flags = type == GGUF_TYPE_BOOL;
        if ((!is_integer_type(type) && !is_flags) ||
            static_cast<int64_t>(gguf_get_arr_n(gguf_.get(), id)) < n) {
            wrong_type(key, id, fmt::format("{}, or {} of them", expected, n).c_str());
        }
        type = is_flags ? GGUF_TYPE_INT8 : type;
        data = gguf_get_arr_data(gguf_.get(), id);
    } else if (is_integer_type(type)) {
        data = gguf_get_val_data(gguf_.get(), id);
    } else {
        wrong_type(key, id, expected.c_str());
    }
    std::vector<int64_t> values;
    for (size_t i = 0; i < static_cast<size_t>(n); i++) {
        values.push_back(integer_at(data, type, is_array ? i : 0));
        if (values.back() < low || values.back() > high) {
            fail(ErrorKind::format, "{}: key {}: found {}, expected {}", path_, key, values.back(),
                 range_text(low, high));
        }
    }
    return values;
}

std::string GgufFile::text(const std::string &key) const {
    std::optional<std::string> value = find_text(key);
    if (!value) {
        missing(key, "a string");
    }
    return *value;
}

int64_t GgufFile::n_texts(const std::string &key) const {
    const int64_t id = id_of(key);
    if (id < 0) {
        missing(key, "an array of strings");
    }
    if (gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_ARRAY ||
        gguf_get_arr_type(gguf_.get(), id) != GGUF_TYPE_STRING) {
        wrong_type(key, id, "an array of strings");
    }
    return static_cast<int64_t>(gguf_get_arr_n(gguf_.get(), id));
}

std::vector<std::string_view> GgufFile::texts(const std::string &key) const {
    const auto n = static_cast<size_t>(n_texts(key));
    const int64_t id = id_of(key);
    std::vector<std::string_view> values;
    values.reserve(n);
    for (size_t i = 0; i < n; i++) {
        values.emplace_back(gguf_get_arr_str(gguf_.get(), id, i));
    }
    return values;
}

std::vector<float> GgufFile::floats(const std::string &key) const {
    const char *expected = "an array of f32, or of u16 holding f16";
    const int64_t id = id_of(key);
    if (id < 0) {
        missing(key, expected);
    }
    const gguf_type type = gguf_get_kv_type(gguf_.get(), id) == GGUF_TYPE_ARRAY
                               ? gguf_get_arr_type(gguf_.get(), id)
                               : GGUF_TYPE_COUNT;
    if (type != GGUF_TYPE_FLOAT32 && type != GGUF_TYPE_UINT16) {
        wrong_type(key, id, expected);
    }
    const auto n = gguf_get_arr_n(gguf_.get(), id);
    std::vector<float> values(n);
    if (type == GGUF_TYPE_FLOAT32) {
        std::memcpy(values.data(), gguf_get_arr_data(gguf_.get(), id), n * sizeof(float));
    } else {
        ggml_fp16_to_fp32_row(static_cast<const ggml_fp16_t *>(gguf_get_arr_data(gguf_.get(), id)),
                              values.data(), static_cast<int64_t>(n));
    }
    return values;
}

bool GgufFile::is_aligned() const {
    return std::all_of(tensors_.begin(), tensors_.end(), [](const TensorInfo &tensor) {
        return tensor.offset % k_tensor_alignment == 0;
    });
}

const TensorInfo *GgufFile::find_tensor(const std::string &name) const {
    const auto found = tensor_ids_.find(name);
    return found == tensor_ids_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace orthorank
