// Small named tensors of floats in GGUF: as the tensors of a file of their own, or as arrays in a
// model's metadata (`k_array_prefix` + name), where libraries that refuse tensors they do not know
// pass over them. Values are F32 here and F32 or F16 there. Thread-safe. Throws Error{file}, and
// Error{format} for what is missing, of another shape, or not finite.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct gguf_context;

namespace orthorank {

class FileBytes;
class GgufFile;

struct FloatTensor {
    std::string name;
    std::vector<int64_t> ne;    // shape in ggml order
    std::vector<float> values;  // as many
    bool is_f16 = false;        // how they are stored; else F32
};

// Keys in order; integers are stored as U32.
struct FloatMetadata {
    std::vector<std::pair<std::string, std::string>> texts;
    std::vector<std::pair<std::string, uint32_t>> integers;
};

constexpr const char *k_array_prefix = "orthorank.";

// The file appears under its name only when it is whole. Returns the hash of its bytes
// (base/fnv1a.h). Throws Error{format} for a value that the type cannot hold.
std::string write_float_file(const std::string &path, const FloatMetadata &metadata,
                             const std::vector<FloatTensor> &tensors);
// Puts them into metadata that is being written.
void set_float_metadata(gguf_context *gguf, const FloatMetadata &metadata);
void set_float_arrays(gguf_context *gguf, const std::vector<FloatTensor> &tensors);

// Reads either kind.
class FloatReader {
 public:
    enum class Kind { tensors, arrays };
    FloatReader(const std::string &path, Kind kind);
    ~FloatReader();
    FloatReader(const FloatReader &) = delete;
    FloatReader &operator=(const FloatReader &) = delete;

    const std::string &path() const;
    // A key's integer in [low, high], which must be there; its text, or an empty one.
    int64_t integer(const std::string &key, int64_t low, int64_t high) const;
    std::string text(const std::string &key) const;
    // The tensor's values. Arrays have no shape: their length is compared with the product of ne.
    std::vector<float> read(const std::string &name, const std::vector<int64_t> &ne) const;

 private:
    std::vector<float> read_tensor(const std::string &name, const std::vector<int64_t> &ne) const;
    std::vector<float> read_array(const std::string &name, int64_t n) const;

    Kind kind_;
    std::unique_ptr<GgufFile> file_;
    std::unique_ptr<FileBytes> bytes_;  // Kind::tensors
};

}  // namespace orthorank
