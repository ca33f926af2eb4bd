// The keys of one architecture in a GGUF file, "gemma3.attention.scale" and the like, by what is
// behind the architecture's name. Remembers what was asked for, so that a key that changes the
// network and that nobody reads is found. Throws Error{format} naming key, found and expected.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/gguf_file.h"

namespace orthorank {

class ArchKeys {
 public:
    ArchKeys(const GgufFile &file, std::string arch) : file_(file), arch_(std::move(arch)) {}

    const GgufFile &file() const { return file_; }
    const std::string &arch() const { return arch_; }
    std::string full(const std::string &name) const { return arch_ + "." + name; }

    bool has(const std::string &name) const { return file_.has(asked(name)); }
    // In [low, high]; a missing key gives `otherwise`, or throws when that is empty.
    int integer(const std::string &name, int64_t low, int64_t high,
                std::optional<int64_t> otherwise = {}) const;
    // One for each of n layers, from an array or one number.
    std::vector<int> integers(const std::string &name, int n, int64_t low, int64_t high,
                              std::optional<int64_t> otherwise = {}) const;
    // In (low, high], likewise.
    float number(const std::string &name, double low, double high,
                 std::optional<float> otherwise = {}) const;
    // Likewise in [0, 1e6], where 0 is how some files say `otherwise`.
    float scale(const std::string &name, float otherwise) const;
    // A soft cap in [0, 1e6]; 0: none.
    float cap(const std::string &name, float otherwise) const;
    bool flag(const std::string &name, bool otherwise) const;
    std::string text(const std::string &name, const std::string &otherwise) const;
    // Which of n layers: an array says it, or all but every period-th, by one number or
    // `otherwise`. A period of 0: all.
    std::vector<bool> all_but_every(const std::string &name, int n, int otherwise) const;
    // A key that has no part in what is computed.
    void ignore(const std::string &name) const { asked(name); }

    // Throws for the first key that changes the network, has not been asked for, and says anything
    // but "not here".
    void refuse_unread() const;

 private:
    std::string asked(const std::string &name) const;

    const GgufFile &file_;
    std::string arch_;
    mutable std::set<std::string> asked_;
};

// What may differ from layer to layer: keys with one number for all layers or an array of one for
// each (or more, whose rest means nothing).
extern const std::vector<std::string> k_layer_keys;
constexpr const char *k_window_pattern_key = "attention.sliding_window_pattern";
// How many layers, the last ones, have no keys of their own.
constexpr const char *k_shared_layers_key = "attention.shared_kv_layers";

}  // namespace orthorank
