// Reads the sources of this checkout and asserts what docs and design promise about their
// structure: who may include whom, where ggml and llama.h appear, that every test is built.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/text_file.h"

namespace orthorank {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;
using Lines = std::vector<std::string>;

// What a file of the room may include besides its own room: everything down the arrows.
const std::map<std::string, std::set<std::string>> k_may_include = {
    {"base", {}},
    {"eval", {"base"}},
    {"select", {"base"}},
    {"model", {"base"}},
    {"graph", {"base", "model", "select"}},  // which score a graph computes: ScoreKind
    {"engine", {"base", "model", "graph", "select"}},
    {"session", {"base", "model", "graph", "select", "engine"}},
    {"report", {"base", "model", "graph", "select", "engine", "session"}},
    {"server", {"base", "model", "graph", "select", "engine", "session", "report"}},
    {"evaluation", {"base", "model", "graph", "select", "engine", "session", "eval"}},
    {"calibration",
     {"base", "model", "graph", "select", "engine", "session", "eval", "report", "evaluation"}},
    {"timing",
     {"base", "model", "graph", "select", "engine", "session", "eval", "report", "evaluation"}},
    {"analysis",
     {"base", "model", "graph", "select", "engine", "session", "eval", "report", "evaluation",
      "calibration"}},
    {"reproduction",
     {"base", "model", "graph", "select", "engine", "session", "eval", "report", "evaluation",
      "calibration", "timing", "analysis"}},
    {"cli",
     {"base", "model", "graph", "select", "engine", "session", "eval", "report", "evaluation",
      "calibration", "timing", "analysis", "reproduction", "server"}},
};

struct Include {
    std::string file;    // relative to src/, such as "select/plan.cpp"
    std::string target;  // as written between the quotes or brackets
    bool is_quoted;
};

std::string room_of(const std::string &path) {
    return path.substr(0, path.find('/'));
}

bool is_source(const fs::path &path) {
    const std::string extension = path.extension().string();
    return extension == ".h" || extension == ".cpp" || extension == ".hpp" || extension == ".c";
}

// Paths relative to the folder, sorted.
Lines files_under(const fs::path &folder) {
    std::set<std::string> files;
    for (const auto &entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) {
            files.insert(fs::relative(entry.path(), folder).generic_string());
        }
    }
    return {files.begin(), files.end()};
}

std::vector<Include> includes_in(const std::string &file, const std::string &text) {
    static const std::regex pattern(R"re((?:^|\n)[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+))re");
    std::vector<Include> includes;
    for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
        includes.push_back({file, (*it)[2], (*it)[1] == "\""});
    }
    return includes;
}

const std::vector<Include> &all_includes() {
    static const std::vector<Include> includes = [] {
        const fs::path src = fs::path(ORTHORANK_SOURCE_DIR) / "src";
        std::vector<Include> found;
        for (const std::string &file : files_under(src)) {
            if (is_source(file)) {
                const auto more = includes_in(file, read_text_file((src / file).string()));
                found.insert(found.end(), more.begin(), more.end());
            }
        }
        return found;
    }();
    return includes;
}

// Not our own of such a name, such as model/gguf_file.h.
bool is_ggml_header(const std::string &target) {
    static const std::regex pattern(R"((.*/)?(ggml|gguf)([-_.].*)?)");
    return k_may_include.count(room_of(target)) == 0 && std::regex_match(target, pattern);
}

bool is_llama_header(const std::string &target) {
    return target == "llama.h" || target == "llama-cpp.h" || target.starts_with("llama-common/");
}

// What is wrong with the direction of an include; empty if nothing.
std::string direction_fault(const Include &include) {
    const std::string room = room_of(include.file);
    const auto allowed = k_may_include.find(room);
    if (allowed == k_may_include.end()) {
        return include.file + ": " + room + "/ is no room of the design";
    }
    const std::string other = room_of(include.target);
    const bool names_a_room =
        include.target.find('/') != std::string::npos && k_may_include.count(other) != 0;
    if (include.is_quoted && !names_a_room && !is_ggml_header(include.target) &&
        !is_llama_header(include.target)) {
        return include.file + ": \"" + include.target + "\" is not of the form \"room/file.h\"";
    }
    if (names_a_room && other != room && allowed->second.count(other) == 0) {
        return include.file + ": " + room + "/ may not include \"" + include.target + "\"";
    }
    return "";
}

// ggml in model/, graph/ and engine's .cpp files; llama.h where text becomes tokens (the
// vocabulary, chat templates), where logits become a token (the sampler), and in the benchmark's
// libllama arm; libllama-common's headers in chat templates.
bool may_include_llama(const std::string &file, const std::string &target) {
    if (target.starts_with("llama-common/")) {
        return file == "model/chat_template.cpp";
    }
    return file == "model/vocab.cpp" || file == "model/chat_template.cpp" ||
           file == "engine/sampler.cpp" || file == "timing/bench_libllama.cpp";
}

std::string library_fault(const Include &include) {
    const std::string room = room_of(include.file);
    const bool is_cpp = fs::path(include.file).extension() == ".cpp";
    if (is_ggml_header(include.target) && room != "model" && room != "graph" &&
        !(room == "engine" && is_cpp)) {
        return include.file + ": ggml header " + include.target;
    }
    if (is_llama_header(include.target) && !may_include_llama(include.file, include.target)) {
        return include.file + ": " + include.target;
    }
    return "";
}

Lines faults_of(const std::vector<Include> &includes, std::string (*fault_of)(const Include &)) {
    Lines faults;
    for (const Include &include : includes) {
        const std::string fault = fault_of(include);
        if (!fault.empty()) {
            faults.push_back(fault);
        }
    }
    return faults;
}

TEST(Structure, IncludesFollowTheArrows) {
    EXPECT_THAT(faults_of(all_includes(), direction_fault), IsEmpty());
}

// The rooms between backticks in a cell of a table, and what they may include where it says so.
std::set<std::string> rooms_in(const std::string &cell) {
    static const std::regex name("`([a-z]+)`");
    std::set<std::string> rooms;
    for (std::sregex_iterator it(cell.begin(), cell.end(), name), end; it != end; ++it) {
        rooms.insert((*it)[1]);
    }
    if (cell.find(" may") != std::string::npos) {
        for (const std::string &room : std::set<std::string>(rooms)) {
            rooms.insert(k_may_include.at(room).begin(), k_may_include.at(room).end());
        }
    }
    return rooms;
}

TEST(Structure, TheTableOfRoomsInTheDocumentationIsTheOneThatIsTested) {
    const std::string text = read_text_file(std::string(ORTHORANK_SOURCE_DIR) + "/docs/layout.md");
    static const std::regex row(R"(\n\| `([a-z]+)/` \|[^\n|]*\|([^\n|]*)\|)");
    std::map<std::string, std::set<std::string>> documented;
    std::set<std::string> above;
    for (std::sregex_iterator it(text.begin(), text.end(), row), end; it != end; ++it) {
        const std::string room = (*it)[1];
        const std::string cell = (*it)[2];
        documented[room] = cell.find("all above") == std::string::npos ? rooms_in(cell) : above;
        above.insert(room);
    }
    EXPECT_EQ(documented, k_may_include);
}

// Whatever a room below needs of the environment is an option there.
TEST(Structure, TheEnvironmentIsReadInCliAlone) {
    static const std::regex reads(R"(\b(secure_)?getenv\b|\benviron\b)");
    const fs::path src = fs::path(ORTHORANK_SOURCE_DIR) / "src";
    Lines readers;
    for (const std::string &file : files_under(src)) {
        if (is_source(file) && std::regex_search(read_text_file((src / file).string()), reads)) {
            readers.push_back(file);
        }
    }
    EXPECT_THAT(readers, testing::Contains("cli/environment.cpp"));
    EXPECT_THAT(readers, testing::Each(testing::StartsWith("cli/")));
}

TEST(Structure, GgmlAndLlamaAppearInTheirRoomsOnly) {
    EXPECT_THAT(faults_of(all_includes(), library_fault), IsEmpty());
}

TEST(Structure, IncludesAreFound) {
    EXPECT_GT(all_includes().size(), 40u);
    const auto found = includes_in("a/b.cpp",
                                   "#include \"select/plan.h\"\n// #include \"no/no.h\"\n"
                                   "  #  include <ggml.h>\n");
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].target, "select/plan.h");
    EXPECT_TRUE(found[0].is_quoted);
    EXPECT_EQ(found[1].target, "ggml.h");
    EXPECT_FALSE(found[1].is_quoted);
}

TEST(Structure, WrongDirectionsAreSeen) {
    EXPECT_EQ(direction_fault({"engine/engine.cpp", "select/plan.h", true}), "");
    EXPECT_EQ(direction_fault({"cli/main.cpp", "base/error.h", true}), "");
    EXPECT_EQ(direction_fault({"select/plan.h", "nlohmann/json.hpp", false}), "");
    EXPECT_EQ(direction_fault({"graph/block.cpp", "engine/engine.h", true}),
              "graph/block.cpp: graph/ may not include \"engine/engine.h\"");
    EXPECT_EQ(direction_fault({"base/a.cpp", "cli/b.h", false}),
              "base/a.cpp: base/ may not include \"cli/b.h\"");
    EXPECT_EQ(direction_fault({"select/plan.cpp", "plan.h", true}),
              "select/plan.cpp: \"plan.h\" is not of the form \"room/file.h\"");
    EXPECT_EQ(direction_fault({"util/a.h", "string", false}),
              "util/a.h: util/ is no room of the design");
}

TEST(Structure, LibraryHeadersInWrongPlacesAreSeen) {
    EXPECT_EQ(library_fault({"engine/engine.cpp", "ggml-backend.h", false}), "");
    EXPECT_EQ(library_fault({"model/weights.cpp", "gguf.h", false}), "");
    EXPECT_EQ(library_fault({"cli/info.cpp", "model/gguf_file.h", true}), "");
    EXPECT_EQ(library_fault({"model/vocab.cpp", "llama.h", false}), "");
    EXPECT_EQ(library_fault({"timing/bench_libllama.cpp", "llama.h", false}), "");
    EXPECT_EQ(library_fault({"model/chat_template.cpp", "llama-common/jinja/value.h", false}), "");
    EXPECT_NE(library_fault({"model/vocab.cpp", "llama-common/jinja/value.h", false}), "");
    EXPECT_NE(library_fault({"engine/engine.h", "ggml.h", false}), "");
    EXPECT_NE(library_fault({"select/plan.cpp", "ggml.h", true}), "");
    EXPECT_EQ(library_fault({"engine/sampler.cpp", "llama.h", false}), "");
    EXPECT_NE(library_fault({"engine/sampler.h", "llama.h", false}), "");
    EXPECT_NE(library_fault({"model/model.cpp", "llama.h", false}), "");
    EXPECT_NE(library_fault({"timing/bench.cpp", "llama.h", false}), "");
    EXPECT_NE(library_fault({"timing/bench_libllama.cpp", "ggml.h", false}), "");
}

// What has one place in src/, whose header says why.
const std::map<std::string, std::string> k_one_place = {
    {"fmt::print(", "base/console.h"},       {"std::cout", "base/console.h"},
    {"std::cerr", "base/console.h"},         {"std::printf(", "base/console.h"},
    {"std::ofstream", "base/output_file.h"}, {"fopen(", "base/output_file.h"},
    {"rename(", "base/output_file.h"},       {"fork()", "base/apart.h"},
    {"json::parse(", "base/strict_json.h"},  {"Json::parse(", "base/strict_json.h"}};

// "FILE: WORD: use PLACE"
Lines words_out_of_place(const std::string &file, const std::string &text) {
    Lines faults;
    for (const auto &[word, place] : k_one_place) {
        const bool is_there = file == fs::path(place).replace_extension(".cpp");
        if (!is_there && text.find(word) != std::string::npos) {
            faults.push_back(file + ": " + word + ": use " + place);
        }
    }
    return faults;
}

TEST(Structure, WhatIsPrintedAndWrittenGoesThroughOnePlace) {
    const fs::path folder = fs::path(ORTHORANK_SOURCE_DIR) / "src";
    Lines faults;
    for (const std::string &file : files_under(folder)) {
        const Lines found = words_out_of_place(file, read_text_file((folder / file).string()));
        faults.insert(faults.end(), found.begin(), found.end());
    }
    EXPECT_THAT(faults, IsEmpty());
    EXPECT_EQ(words_out_of_place("cli/a.cpp", "fmt::print(stderr, x)"),
              Lines{"cli/a.cpp: fmt::print(: use base/console.h"});
    EXPECT_THAT(words_out_of_place("base/output_file.cpp", "::rename(a, b)"), IsEmpty());
}

// The rooms between the brackets of foreach(room ...) in tests/CMakeLists.txt.
std::set<std::string> test_rooms() {
    const std::string text =
        read_text_file(std::string(ORTHORANK_SOURCE_DIR) + "/tests/CMakeLists.txt");
    std::smatch match;
    std::set<std::string> rooms;
    if (std::regex_search(text, match, std::regex(R"(foreach\(room\s+([^)]*)\))"))) {
        const std::string list = match[1];
        const std::regex word(R"(\S+)");
        for (std::sregex_iterator it(list.begin(), list.end(), word), end; it != end; ++it) {
            rooms.insert(it->str());
        }
    }
    return rooms;
}

TEST(Structure, EveryTestFileIsInTheBuild) {
    const std::set<std::string> rooms = test_rooms();
    EXPECT_THAT(rooms, testing::IsSupersetOf({"base", "select", "structure"}));
    Lines strays;
    size_t n_tests = 0;
    for (const std::string &file : files_under(fs::path(ORTHORANK_SOURCE_DIR) / "tests")) {
        if (!file.ends_with("_test.cpp")) {
            continue;
        }
        ++n_tests;
        // The build takes <room>/*_test.cpp, not deeper.
        const bool is_two_deep = std::count(file.begin(), file.end(), '/') == 1;
        if (!is_two_deep || rooms.count(room_of(file)) == 0) {
            strays.push_back(file);
        }
    }
    EXPECT_THAT(strays, IsEmpty());
    EXPECT_GT(n_tests, 5u);
}

}  // namespace
}  // namespace orthorank
