// Texts that perplexity is measured on, tokenized and cut into windows: files, or the sets of a
// protocol.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/streams.h"
#include "evaluation/windows.h"
#include "model/vocab.h"

namespace orthorank {

// What says what is measured on.
struct TextArguments {
    std::vector<std::string> files;
    std::string field = "text";
    std::string protocol;  // in place of files
    std::string data_dir;
    int n_ctx = 2048;
    int n_windows = 0;  // of each text; 0: all
    int n_continuation = 0;
    bool bos_each_window = false;
};

// Texts that are averaged over together.
struct TextSet {
    std::string name;  // of the protocol's; empty for files
    std::vector<std::string> files;
    size_t n_documents = 0;  // the protocol's only, and how many it asks for
    size_t n_wanted = 0;
    size_t n_tokens = 0;
    Windows windows;
    std::string bos;  // which windows begin with BOS: "first", "each" or "none"
};

// Throws Error: limit for texts without a window, usage for BOS where the model has none, and what
// reading them throws.
std::vector<TextSet> read_text_sets(const TextArguments &arguments, const Vocab &vocab);

// One set of a protocol, such as c4_stream(), with the windows that the arguments say. Throws
// Error{limit} where there is none.
TextSet set_of_stream(const std::string &name, const TextStream &stream,
                      const TextArguments &arguments, const Vocab &vocab);

}  // namespace orthorank
