#include "eval/streams.h"

#include <gtest/gtest.h>

#include "data_dir.h"

namespace orthorank {
namespace {

TEST(Streams, PlainTextIsReadByteForByte) {
    const DataDir dir;
    EXPECT_EQ(read_text(dir.write("a.txt", " = a\r\n\n b \n")), " = a\r\n\n b \n");
    EXPECT_EQ(read_text(dir.write("jsonl", "{}")), "{}");
}

// Measured as raw text, the braces and field names would count without a word.
TEST(Streams, JsonLinesAreKnownByTheirNamesInAnyCase) {
    const DataDir dir;
    const std::string content =
        "\xEF\xBB\xBF{\"text\": \"a\\n\", \"x\": \"1\"}\n\n{\"text\": \"b\", \"x\": \"2\"}\r\n";
    for (const char *name : {"a.jsonl", "a.json", "a.ndjson", "A.JSONL", "b.Json", "c.NDJSON"}) {
        const std::string path = dir.write(name, content);
        EXPECT_EQ(read_text(path), "a\n b") << name;
        EXPECT_EQ(read_text(path, "x"), "1 2") << name;
    }
    for (const char *name : {"a.jsonl.txt", "ndjson", "a.jsonl.bak"}) {
        EXPECT_FALSE(is_json_lines(name)) << name;
    }
}

TEST(Streams, WikitextRowsKeepTheirLineEndsAndBlankOnesAreEmpty) {
    size_t n_rows = 0;
    EXPECT_EQ(join_wikitext_rows(" \n = T = \n \n x y \n", n_rows), "\n\n = T = \n\n\n\n\n x y \n");
    EXPECT_EQ(n_rows, 4u);
    EXPECT_EQ(join_wikitext_rows("a\nb", n_rows), "a\n\n\nb");
    EXPECT_EQ(n_rows, 2u);
    EXPECT_EQ(join_wikitext_rows("", n_rows), "");
    EXPECT_EQ(n_rows, 0u);
}

TEST(Streams, C4TakesTheFirstElevenHundredDocuments) {
    const DataDir dir;
    std::string content;
    for (int i = 0; i < 1103; i++) {
        content += fmt::format("{{\"text\": \"d{}\"}}\n", i);
    }
    dir.write("c4/c4-validation.00000-of-00008.json", content + "not read any more");
    const TextStream stream = c4_stream(dir.str());
    EXPECT_EQ(stream.n_documents, 1100u);
    EXPECT_TRUE(stream.text.starts_with("d0 d1 d2 "));
    EXPECT_TRUE(stream.text.ends_with(" d1099"));
    EXPECT_EQ(n_windows(100 * 2048 + 2047, 2048, stream), 100u);
    EXPECT_EQ(n_windows(300 * 2048, 2048, stream), 256u);
    EXPECT_EQ(n_windows(300 * 2048, 2048, TextStream{}), 300u);
}

}  // namespace
}  // namespace orthorank
