#include "eval/streams.h"

#include <gtest/gtest.h>

#include "data_dir.h"

namespace orthorank {
namespace {

TEST(Streams, PlainTextIsReadByteForByte) {
    const DataDir dir;
    const TextStream stream = read_text(dir.write("a.txt", "a\r\n\n b \n"));
    EXPECT_EQ(stream.text, "a\r\n\n b \n");
    EXPECT_EQ(stream.n_documents, 1u);
}

TEST(Streams, RecordsAreJoinedByBlankLines) {
    const DataDir dir;
    const std::string path = dir.write(
        "a.jsonl", "{\"text\": \"a\\n\", \"x\": \"1\"}\n\n{\"text\": \"b\", \"x\": \"2\"}");
    EXPECT_EQ(read_text(path).text, "a\n\n\nb");
    EXPECT_EQ(read_text(path, "x").text, "1\n\n2");
    EXPECT_EQ(read_text(path).n_documents, 2u);
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
