// Tokens and text: libllama's vocabulary of a GGUF file. The only door to llama.h, together with
// quantize(). Const and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace orthorank {

struct ChatMessage {
    std::string role;
    std::string content;
};

class Vocab {
 public:
    // Throws Error{format} when the file has no vocabulary that libllama reads.
    static std::unique_ptr<Vocab> load(const std::string &gguf_path);
    ~Vocab();

    int n_tokens() const;
    // add_special: BOS and the like as the tokenizer's file says; parse_special: text such as
    // "<|im_start|>" becomes its control token.
    std::vector<int32_t> tokenize(const std::string &text, bool add_special,
                                  bool parse_special = false) const;
    // The bytes of one token (may be part of a UTF-8 character); control tokens only if special.
    std::string piece(int32_t token, bool special = false) const;
    // The text of a whole sequence: SentencePiece's space before the first word is dropped. For a
    // stream, join piece()s.
    std::string detokenize(std::span<const int32_t> tokens, bool special = false) const;
    bool is_end_of_generation(int32_t token) const;
    int32_t bos() const;  // -1 if none
    int32_t eos() const;  // -1 if none
    bool adds_bos() const;

    bool has_chat_template() const;
    // The prompt text for a conversation, ready for the assistant's answer. Throws Error{format}
    // when the model has no template that libllama knows.
    std::string apply_chat_template(std::span<const ChatMessage> messages) const;

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
