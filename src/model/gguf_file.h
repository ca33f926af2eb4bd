// A GGUF file's metadata: keys with checked types, and where each tensor's bytes lie. Owns nothing
// but the metadata; the data is read elsewhere (file_bytes.h). Immutable once open, so it may be
// read by any number of threads. Everything throws Error{file} or Error{format} with the file, the
// key or tensor, what was found and what was expected; nothing in a file reaches a ggml assertion.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct gguf_context;

namespace orthorank {

// One tensor as the file describes it.
struct TensorInfo {
    std::string name;
    int type = 0;                              // a ggml_type
    std::array<int64_t, 4> ne = {1, 1, 1, 1};  // shape in ggml order
    int64_t offset = 0;                        // of the first byte, from the file's start
    int64_t n_bytes = 0;
};

constexpr int64_t k_tensor_alignment = 32;

class GgufFile {
 public:
    // Reads the metadata and checks that every tensor lies inside the file.
    explicit GgufFile(const std::string &path);
    // Metadata that is being made, without tensors; `path` is for messages.
    GgufFile(const gguf_context *metadata, const std::string &path);
    ~GgufFile();
    GgufFile(const GgufFile &) = delete;
    GgufFile &operator=(const GgufFile &) = delete;

    const std::string &path() const { return path_; }
    int64_t size() const { return size_; }
    bool has(const std::string &key) const;
    bool is_array(const std::string &key) const;

    // Scalars; nothing when the key is missing. Integers may be stored in any width.
    std::optional<int64_t> find_integer(const std::string &key) const;
    std::optional<double> find_number(const std::string &key) const;
    std::optional<bool> find_flag(const std::string &key) const;
    std::optional<std::string> find_text(const std::string &key) const;
    // A number or a flag (0 or 1), or all of an array of them; nothing for others.
    std::optional<std::vector<double>> find_scalars(const std::string &key) const;
    // An integer in [low, high]; a missing key gives `otherwise`, or throws when that is empty.
    int64_t integer(const std::string &key, int64_t low, int64_t high,
                    std::optional<int64_t> otherwise = {}) const;
    // n integers in [low, high], from an array of n (or more; flags are 0 or 1) or one scalar for
    // all.
    std::vector<int64_t> integers(const std::string &key, int64_t n, int64_t low, int64_t high,
                                  std::optional<int64_t> otherwise = {}) const;
    std::string text(const std::string &key) const;

    // Length of an array of strings; throws when the key is missing or something else.
    int64_t n_texts(const std::string &key) const;
    // All strings of an array. Views into this object.
    std::vector<std::string_view> texts(const std::string &key) const;

    // An array of F32, or of U16 that are the bits of F16; throws when the key is missing.
    std::vector<float> floats(const std::string &key) const;

    // Whether every tensor begins where ggml's kernels can read it in place: at a multiple of
    // k_tensor_alignment. GGUF files do, unless they say otherwise.
    bool is_aligned() const;
    const std::vector<TensorInfo> &tensors() const { return tensors_; }
    const TensorInfo *find_tensor(const std::string &name) const;

 private:
    [[noreturn]] void wrong_type(const std::string &key, int64_t id, const char *expected) const;
    [[noreturn]] void missing(const std::string &key, const char *expected) const;
    int64_t id_of(const std::string &key) const;
    void check_header();
    void list_tensors();

    struct Deleter {
        void operator()(gguf_context *context) const;
    };
    std::string path_;
    int64_t size_ = 0;
    std::unique_ptr<gguf_context, Deleter> gguf_;
    std::vector<TensorInfo> tensors_;
    std::unordered_map<std::string, size_t> tensor_ids_;
};

// "[64, 288]": a shape in ggml order without trailing ones.
std::string shape_text(const std::array<int64_t, 4> &ne);

}  // namespace orthorank
