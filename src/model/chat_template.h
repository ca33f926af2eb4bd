// The text of a conversation, as the model's own chat template (tokenizer.chat_template of a GGUF,
// in Jinja) lays it out. Run by llama.cpp's Jinja engine where the build found its headers
// (cmake/Dependencies.cmake); else only the forms that libllama recognises. Thread-safe.
#pragma once

#include <ctime>
#include <span>
#include <string>
#include <string_view>

namespace orthorank {

struct ChatMessage {
    std::string role;
    std::string content;
};

// What a template may ask for beside the messages.
struct ChatSetting {
    std::string bos;  // texts of the tokens; empty: none
    std::string eos;
    std::time_t now = std::time(nullptr);  // what strftime_now says, in local time
};

// Whether render_chat runs templates; false: it is render_known_chat.
bool runs_chat_templates();

// The conversation, ready for the assistant's answer, as `transformers` renders it. Contents may
// have any bytes. Throws Error{format} for a template that cannot be run and Error{request} for a
// conversation that it refuses (roles in an order that the model was not trained on). A template
// runs in a process of its own, at most 10 s and with 128 MiB.
std::string render_chat(const std::string &chat_template, std::span<const ChatMessage> messages,
                        const ChatSetting &setting);

// The same by libllama's list of forms, which it tells by words in the template: a default system
// turn is lost, other templates throw Error{format}.
std::string render_known_chat(const std::string &chat_template,
                              std::span<const ChatMessage> messages);

}  // namespace orthorank
