// Where the tokens of an echoed prompt and of an answer stand in the text: in characters.
#include "base/utf8.h"
#include "server/answer.h"
#include "server/server_fixture.h"
#include "session/text_stream.h"

namespace orthorank::test {
namespace {

using nlohmann::json;

json echo_of(const RunningServer &server, const json &prompt) {
    return server.complete({{"prompt", prompt},
                            {"max_tokens", 1},
                            {"temperature", 0},
                            {"logprobs", 0},
                            {"echo", true}})["choices"][0];
}

TEST(TextOffsets, OfAStringCountItsOwnCharacters) {
    const RunningServer server;
    // BOS and the blank before the first word are not in the string.
    EXPECT_EQ(echo_of(server, "the quick")["logprobs"]["text_offset"],
              (json{0, 0, 0, 3, 4, 5, 6, 7, 8, 9}));
    EXPECT_EQ(echo_of(server, " the")["logprobs"]["text_offset"], (json{0, 0, 0, 1, 4}));
    EXPECT_EQ(echo_of(server,
                      "a\xf0\x9f\xa6\x8a"
                      "b")["logprobs"]["text_offset"],
              (json{0, 0, 0, 1, 1, 1, 1, 2, 3}))
        << "a character of four tokens";
    EXPECT_EQ(echo_of(server, "the</s>he")["logprobs"]["text_offset"], (json{0, 0, 0, 3, 7, 7, 9}))
        << "SentencePiece puts a blank behind the name too";
}

TEST(TextOffsets, OfIdsCountTheirText) {
    const RunningServer server;
    const int32_t the = k_tiny_n_vocab - 1;
    const int32_t blank = 3 + 256;
    const json words = echo_of(server, {blank, the, blank, the});
    EXPECT_EQ(words["text"].get<std::string>().substr(0, 7), "the the");
    EXPECT_EQ(words["logprobs"]["text_offset"], (json{0, 0, 3, 4, 7}));
    const json named = echo_of(server, {1, blank, the});
    EXPECT_EQ(named["text"].get<std::string>().substr(0, 7), "<s> the");
    EXPECT_EQ(named["logprobs"]["text_offset"], (json{0, 3, 4, 7}));
    const json broken = echo_of(server, {3 + 0xF0, the, 3 + 0xFF, 3 + 0xFF});
    EXPECT_EQ(broken["logprobs"]["text_offset"], (json{0, 1, 4, 5, 6}));
}

// Where the characters of an echoed token are whole, its offset is where it stands.
TEST(TextOffsets, FindTheTokensOfAnyIds) {
    const RunningServer server;
    for (uint64_t seed = 0; seed < 10; ++seed) {
        SCOPED_TRACE(seed);
        const std::vector<int32_t> ids = random_tokens(40, 300 + seed);
        const json choice = echo_of(server, ids);
        const std::vector<int32_t> characters = to_code_points(choice["text"].get<std::string>());
        const json &tokens = choice["logprobs"]["tokens"];
        const auto offsets = choice["logprobs"]["text_offset"].get<std::vector<size_t>>();
        ASSERT_EQ(offsets.size(), 41u);
        EXPECT_TRUE(std::is_sorted(offsets.begin(), offsets.end()));
        ASSERT_LE(offsets.back(), characters.size());
        for (size_t i = 1; i < ids.size(); ++i) {
            const auto token = tokens[i].get<std::string>();
            if (!token.starts_with("bytes:")) {
                const auto first = characters.begin() + static_cast<std::ptrdiff_t>(offsets[i]);
                const auto end = characters.begin() + static_cast<std::ptrdiff_t>(offsets[i + 1]);
                EXPECT_EQ(to_utf8({first, end}), token) << i;
            }
        }
    }
}

// The answer that these tokens make, told as a session tells it.
json choice_of(const RunningServer &server, const std::vector<int32_t> &tokens,
               const std::string &stop) {
    const ServedModel served = server.served();
    Generation generation;
    generation.prompts.emplace_back();
    generation.wants_log_probs = true;
    Choice choice(generation, served, 0);
    TextStream text({stop});
    for (const int32_t token : tokens) {
        Event event;
        event.token = token;
        event.text = text.push(served.vocab().piece(token));
        event.log_prob.emplace();
        choice.take(event);
    }
    Event last;
    last.kind = Event::Kind::finished;
    last.text = text.flush();
    last.result.stop_reason = text.is_stopped() ? StopReason::stop : StopReason::length;
    choice.take(last);
    return choice.json();
}

TEST(TextOffsets, OfAnswersThatAreNotUtf8) {
    const RunningServer server;
    const auto byte = [](int value) { return 3 + value; };  // its token
    const json stopped = choice_of(
        server, {byte(0xFF), byte(0xFF), byte('S'), byte('T'), byte('O'), byte('P')}, "STOP");
    EXPECT_EQ(stopped["text"], "\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_EQ(stopped["finish_reason"], "stop");
    EXPECT_EQ(stopped["logprobs"]["tokens"], (json{"bytes:\\xff", "bytes:\\xff"}));
    EXPECT_EQ(stopped["logprobs"]["text_offset"], (json{0, 1}));
    const json cut = choice_of(server, {byte(0xF0), byte(0x9F), byte('S')}, "S");
    EXPECT_EQ(cut["text"], "\xef\xbf\xbd");
    EXPECT_EQ(cut["logprobs"]["text_offset"], (json{0, 0}));
    const json whole = choice_of(
        server, {byte(0xF0), byte(0x9F), byte(0xA6), byte(0x8A), byte('x'), byte(0xF0)}, "S");
    EXPECT_EQ(whole["text"],
              "\xf0\x9f\xa6\x8a"
              "x");
    EXPECT_EQ(whole["logprobs"]["text_offset"], (json{0, 0, 0, 0, 1, 2}));
}

}  // namespace
}  // namespace orthorank::test
