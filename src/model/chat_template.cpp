#include "model/chat_template.h"

#include <llama.h>

#include <algorithm>
#include <new>
#include <vector>

#include "base/apart.h"
#include "base/error.h"
#include "base/strings.h"

#ifdef ORTHORANK_HAS_LLAMA_COMMON
#include <llama-common/jinja/lexer.h>
#include <llama-common/jinja/parser.h>
#include <llama-common/jinja/runtime.h>
#include <llama-common/jinja/value.h>
#endif

namespace orthorank {

namespace {

#ifdef ORTHORANK_HAS_LLAMA_COMMON

// The engine recurses as deep as a template's brackets are nested (some kilobytes each) and its
// macros call each other, and has no limits of its own: a template runs in a process apart.
constexpr size_t k_longest_template = size_t{1} << 18;
constexpr size_t k_stack = size_t{1} << 30;
constexpr size_t k_memory = size_t{128} << 20;

jinja::value text_value(const std::string &text) {
    return jinja::mk_val<jinja::value_string>(text);
}

jinja::value messages_value(std::span<const ChatMessage> messages) {
    auto list = jinja::mk_val<jinja::value_array>();
    for (const ChatMessage &message : messages) {
        auto object = jinja::mk_val<jinja::value_object>();
        object->insert("role", text_value(message.role));
        object->insert("content", text_value(message.content));
        list->push_back(object);
    }
    return list;
}

std::string run_template(const std::string &chat_template, std::span<const ChatMessage> messages,
                         const ChatSetting &setting) {
    const jinja::program program = jinja::parse_from_tokens(jinja::lexer().tokenize(chat_template));
    jinja::context context(chat_template);
    context.current_time = setting.now;
    context.set_val("messages", messages_value(messages));
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(true));
    context.set_val("bos_token", text_value(setting.bos));
    context.set_val("eos_token", text_value(setting.eos));
    // transformers passes these, empty, to every template.
    context.set_val("tools", jinja::mk_val<jinja::value_none>());
    context.set_val("documents", jinja::mk_val<jinja::value_none>());
    const jinja::value_array parts = jinja::runtime(context).execute(program);
    return jinja::runtime::gather_string_parts(parts)->as_string().str();
}

// The engine's message without the picture of the place, which comes before it (runtime) or behind
// it (parser).
std::string cause_of(const std::string &message) {
    const std::string mark = "\nError: ";
    const size_t at = message.find(mark);
    const std::string cause = at == std::string::npos ? message : message.substr(at + mark.size());
    return cause.substr(0, cause.find('\n'));
}

[[noreturn]] void fail_as(const std::exception &error) {
    const std::string raised = "Jinja Exception: ";  // what raise_exception() puts before its text
    const std::string cause = cause_of(error.what());
    if (cause.empty() || cause == std::bad_alloc().what()) {  // empty: no memory for the text
        throw std::bad_alloc();
    }
    if (cause.starts_with(raised)) {
        fail(ErrorKind::request, "the chat template refuses this conversation: {}",
             cause.substr(raised.size()));
    }
    fail(ErrorKind::format, "the chat template cannot be run: {}", cause);
}

#endif

}  // namespace

#ifdef ORTHORANK_HAS_LLAMA_COMMON

bool runs_chat_templates() {
    return true;
}

std::string render_chat(const std::string &chat_template, std::span<const ChatMessage> messages,
                        const ChatSetting &setting) {
    if (chat_template.size() > k_longest_template) {
        fail(ErrorKind::format, "the chat template has {} bytes; {} at most are run",
             chat_template.size(), k_longest_template);
    }
    ApartLimits limits;
    limits.stack_bytes = k_stack;
    limits.n_bytes = k_memory;
    try {
        return run_apart(limits, [&] {
            try {
                return run_template(chat_template, messages, setting);
            } catch (const std::exception &error) {
                fail_as(error);
            }
        });
    } catch (const Error &error) {
        if (error.kind() != ErrorKind::limit) {
            throw;
        }
        fail(ErrorKind::format, "the chat template cannot be run: {}", error.what());
    }
}

#else

bool runs_chat_templates() {
    return false;
}

std::string render_chat(const std::string &chat_template, std::span<const ChatMessage> messages,
                        const ChatSetting &) {
    return render_known_chat(chat_template, messages);
}

#endif

std::string render_known_chat(const std::string &chat_template,
                              std::span<const ChatMessage> messages) {
    // libllama takes C strings: a NUL byte travels as a character that no text has.
    const std::string nul(1, '\0'), stand_in = "\xf4\x8f\xbf\xbe";  // U+10FFFE, a noncharacter
    std::vector<ChatMessage> copies(messages.begin(), messages.end());
    std::vector<llama_chat_message> list;
    for (ChatMessage &message : copies) {
        message.content = replace_all(message.content, nul, stand_in);
        list.push_back({message.role.c_str(), message.content.c_str()});
    }
    const auto apply = [&](char *buffer, size_t n) {
        return llama_chat_apply_template(chat_template.c_str(), list.data(), list.size(),
                                         /*add_ass=*/true, buffer, static_cast<int32_t>(n));
    };
    const int32_t n = apply(nullptr, 0);
    if (n < 0) {
        fail(ErrorKind::format, "the chat template is not one that libllama knows");
    }
    std::string text(static_cast<size_t>(n), '\0');
    apply(text.data(), text.size());
    return replace_all(text, stand_in, nul);
}

}  // namespace orthorank
