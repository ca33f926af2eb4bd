// Chat templates as jinja2 renders them (tools/reference/chat_templates.py), and libllama's forms.
#include "model/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/errors.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

using nlohmann::json;

std::vector<ChatMessage> messages_of(const json &conversation) {
    std::vector<ChatMessage> messages;
    for (const json &message : conversation) {
        messages.push_back({message["role"], message["content"]});
    }
    return messages;
}

TEST(ChatTemplate, RendersWhatTheReferenceRenders) {
    if (!runs_chat_templates()) {
        GTEST_SKIP() << "this build has no headers of libllama-common";
    }
    const json fixture = json::parse(
        read_bytes(std::string(ORTHORANK_SOURCE_DIR) + "/tests/fixtures/chat-templates.json"));
    const ChatSetting setting{fixture["bos"], fixture["eos"], fixture["now"]};
    size_t n_texts = 0, n_refusals = 0;
    for (const json &item : fixture["cases"]) {
        SCOPED_TRACE(item["template"].dump() + " " + item["conversation"].dump());
        const std::string chat_template = fixture["templates"][std::string(item["template"])];
        const std::vector<ChatMessage> messages =
            messages_of(fixture["conversations"][std::string(item["conversation"])]);
        if (item.contains("text")) {
            EXPECT_EQ(render_chat(chat_template, messages, setting), item["text"]);
            ++n_texts;
        } else {
            expect_error(ErrorKind::request,
                         "refuses this conversation: " + std::string(item["refused"]),
                         [&] { render_chat(chat_template, messages, setting); });
            ++n_refusals;
        }
    }
    EXPECT_GE(n_texts, 40u);
    EXPECT_GE(n_refusals, 5u);
}

TEST(ChatTemplate, WhatCannotBeRunIsOneLine) {
    if (!runs_chat_templates()) {
        GTEST_SKIP() << "this build has no headers of libllama-common";
    }
    const ChatMessage message[] = {{"user", "Hi"}};
    for (const char *broken :
         {"{% for m in messages %}", "{{ messages[0].content", "{% nonsense %}", "{{ 1 + }}",
          "{{ messages | unheard_of }}", "{{ nobody.knows() }}"}) {
        expect_error(ErrorKind::format, "the chat template cannot be run: ", [&] {
            render_chat(broken, message, {});
        });
    }
    expect_error(ErrorKind::format, "the chat template has 300000 bytes; 262144 at most",
                 [&] { render_chat(std::string(300000, 'x'), message, {}); });
}

// A file's template may be nested as deep as it likes: no crash, whatever comes of it.
TEST(ChatTemplate, DeepNesting) {
    if (!runs_chat_templates()) {
        GTEST_SKIP() << "this build has no headers of libllama-common";
    }
    const ChatMessage message[] = {{"user", "Hi"}};
    const size_t n = 100000;
    const std::string open(n, '('), close(n, ')');
    EXPECT_EQ(render_chat("{{ " + open + "1" + close + " }}", message, {}), "1");
    expect_error(ErrorKind::format, "cannot be run",
                 [&] { render_chat("{{ " + open + "1", message, {}); });
}

// Nor does it run for ever or fill the memory.
TEST(ChatTemplate, EndlessTemplatesAreOneLine) {
    if (!runs_chat_templates()) {
        GTEST_SKIP() << "this build has no headers of libllama-common";
    }
    const ChatMessage message[] = {{"user", "Hi"}};
    for (const char *endless : {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                                "{% for i in range(2000000000) %}x{% endfor %}",
                                "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}"
                                "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}"}) {
        expect_error(ErrorKind::format, "the chat template cannot be run: it ",
                     [&] { render_chat(endless, message, {}); });
    }
    EXPECT_EQ(render_chat("{{ messages[0].content }}", message, {}), "Hi");
}

TEST(ChatTemplate, ContentsMayHaveAnyBytes) {
    const std::string content("a\0b\xff{{ 1 }}", 11);
    const ChatMessage message[] = {{"user", content}};
    const std::string chatml =
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
        "'<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";
    const std::string expected =
        "<|im_start|>user\n" + content + "<|im_end|>\n<|im_start|>assistant\n";
    EXPECT_EQ(render_chat(chatml, message, {}), expected);
    EXPECT_EQ(render_known_chat(chatml, message), expected);
}

TEST(ChatTemplate, UnknownForms) {
    const ChatMessage message[] = {{"user", "Hi"}};
    expect_error(ErrorKind::format, "not one that libllama knows",
                 [&] { render_known_chat("{{ unheard_of }}", message); });
}

}  // namespace
}  // namespace orthorank::test
