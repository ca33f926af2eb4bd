#include "evaluation/line_log.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/errors.h"
#include "support/paths.h"

namespace orthorank {
namespace {

using nlohmann::ordered_json;
using test::expect_error;
using test::read_bytes;
using test::write_bytes;

class LineLogTest : public testing::Test {
 protected:
    test::TempDir dir_;
    std::string path_ = dir_.file("s.jsonl");
    ordered_json run_ = {{"model", "m"}, {"plan dense", 1}};
};

TEST_F(LineLogTest, GoesOnBehindTheLastWholeLine) {
    {
        LineLog log(path_, run_);
        EXPECT_EQ(log.lines(), "");
        log.start();
        log.append("one");
    }
    write_bytes(path_, "one\n{\"tas\xC3");  // as an interrupted write may leave it
    {
        LineLog log(path_, run_);
        EXPECT_EQ(log.lines(), "one\n");
        EXPECT_EQ(read_bytes(path_), "one\n{\"tas\xC3")
            << "nothing is cut before the lines are read";
        log.start();
        log.append("two");
    }
    EXPECT_EQ(read_bytes(path_), "one\ntwo\n");
}

TEST_F(LineLogTest, AnotherRunIsRefused) {
    {
        LineLog log(path_, run_);
        log.start();
        log.append("one");
    }
    ordered_json other = run_;
    other["plan more"] = 2;
    other["documents piqa"] = "hash";
    LineLog(path_, other).start();
    other["documents piqa"] = "another";
    expect_error(ErrorKind::usage, "whose documents piqa differs", [&] { LineLog(path_, other); });
    other = run_;
    other["threads"] = 2;
    expect_error(ErrorKind::usage, "whose threads differs", [&] { LineLog(path_, other); });
    std::filesystem::remove(path_ + ".run.json");
    expect_error(ErrorKind::usage, "is missing", [&] { LineLog(path_, run_); });
    EXPECT_EQ(read_bytes(path_), "one\n");
}

// Two runs at once on one file doubled its lines.
TEST_F(LineLogTest, OneRunAtATime) {
    LineLog first(path_, run_);
    first.start();
    expect_error(ErrorKind::file, "s.jsonl: in use by another run", [&] { LineLog(path_, run_); });
}

// A name that is no UTF-8 ended as an internal error.
TEST_F(LineLogTest, NamesMayBeAnything) {
    run_["plan \xff.json"] = "\xfe";
    LineLog(path_, run_).start();
    EXPECT_NE(read_bytes(path_ + ".run.json").find("\xEF\xBF\xBD.json"), std::string::npos);
}

}  // namespace
}  // namespace orthorank
