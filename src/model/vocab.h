// Tokens and text: libllama's vocabulary of a GGUF file. The only door to llama.h, together with
// quantize(). Const and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/chat_template.h"

namespace orthorank {

class Vocab {
 public:
    // Throws Error{format} when the file has no vocabulary that libllama reads.
    static std::unique_ptr<Vocab> load(const std::string &gguf_path);
    ~Vocab();

    // What libllama finds odd in the vocabulary, such as an unknown pre-tokenizer: a line each.
    const std::vector<std::string> &warnings() const;

    int n_tokens() const;
    // add_bos: begins with BOS if texts do (adds_bos). parse_special: text such as
    // "<|im_start|>" becomes its control token. An end token is never put behind, whatever the file
    // says of add_eos_token: texts are read on or continued here. Throws Error{limit} for a run of
    // characters without a blank that is too long for libllama's tokenizer (model/long_runs.h).
    std::vector<int32_t> tokenize(const std::string &text, bool add_bos,
                                  bool parse_special = false) const;
    // The first n tokens of it, without tokenizing more than they can need.
    std::vector<int32_t> tokenize_first(size_t n, const std::string &text, bool add_bos) const;
    // The fewest tokens that a text of n_bytes can have: all as long as the longest.
    size_t fewest_tokens(size_t n_bytes) const;
    // The bytes of one token (may be part of a UTF-8 character); control tokens only if special.
    std::string piece(int32_t token, bool special = false) const;
    // The text of a whole sequence: SentencePiece's space before the first word is dropped. For a
    // stream, join piece()s.
    std::string detokenize(std::span<const int32_t> tokens, bool special = false) const;
    bool is_end_of_generation(int32_t token) const;
    int32_t bos() const;  // -1 if none
    int32_t eos() const;  // -1 if none
    // Do texts begin with BOS? The file says it, or the architecture needs it.
    bool adds_bos() const;
    // What every window of a text begins with where the architecture needs it (BOS); else nothing:
    // then only the text's start has one.
    std::optional<int32_t> window_start() const;

    bool has_chat_template() const;
    const std::string &chat_template() const;  // Jinja; empty: none
    // The tokens of a conversation in the model's chat template, ready for the assistant's answer
    // (model/chat_template.h). Control tokens are those that the template writes; their names in a
    // message are text. BOS comes once: from the template, or where it writes none, as tokenize()
    // adds it. Throws Error: format without a template or with one that cannot be run, request for
    // messages that it refuses.
    std::vector<int32_t> tokenize_chat(std::span<const ChatMessage> messages) const;

 private:
    Vocab();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// Writes a copy of a GGUF in another type with libllama's quantiser: "F32", "F16", "BF16", "Q8_0",
// "Q4_0", "Q4_1", "Q4_K", ... (requantising allowed). pure: every matrix in that type.
// Throws Error{usage} for an unknown type (listing the known), Error{file} when it fails.
void quantize(const std::string &gguf_in, const std::string &gguf_out, const std::string &type,
              bool pure = false, int n_threads = 2);

}  // namespace orthorank
