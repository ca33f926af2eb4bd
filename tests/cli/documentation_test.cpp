// docs/commands.md beside what the program says of itself: every option of every command.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "support/paths.h"
#include "support/program.h"

namespace orthorank::test {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::IsSupersetOf;
using Names = std::set<std::string>;

const std::string k_common = "Options of every command";

// All that looks like an option, such as -o and --output.
Names options_in(const std::string &text) {
    static const std::regex pattern(R"((^|[^a-z0-9-])(--[a-z][a-z0-9-]*|-[a-zA-Z])(?![a-z0-9-]))");
    Names names;
    for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
        names.insert((*it)[2]);
    }
    return names;
}

// By section: what the first column of its tables of options names. Such a table begins with
// "| option |".
std::map<std::string, Names> documented_options() {
    std::istringstream lines(read_bytes(std::string(ORTHORANK_SOURCE_DIR) + "/docs/commands.md"));
    std::map<std::string, Names> sections;
    std::string section;
    std::string line;
    bool is_in_table = false;
    while (std::getline(lines, line)) {
        if (line.starts_with("## ")) {
            section = line.substr(3);
        }
        is_in_table = line.starts_with("| option |") || (is_in_table && line.starts_with("|"));
        if (is_in_table) {
            const Names names = options_in(line.substr(0, line.find(" | ")));
            sections[section].insert(names.begin(), names.end());
        }
    }
    return sections;
}

std::string help_of(const std::vector<std::string> &arguments) {
    const ProgramResult result = run_program(ORTHORANK_PROGRAM, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
}

// What --help lists, at the beginning of its lines; without --help itself.
Names options_of(const std::string &command) {
    static const std::regex pattern(R"(\n {1,6}(-\S+))");
    const std::string help = help_of({command, "--help"});
    Names names;
    for (std::sregex_iterator it(help.begin(), help.end(), pattern), end; it != end; ++it) {
        names.merge(options_in((*it)[1]));
    }
    names.erase("-h");
    names.erase("--help");
    return names;
}

Names commands() {
    static const std::regex pattern(R"(\n  ([a-z][a-z-]*) )");
    const std::string help = help_of({"--help"});
    Names names;
    for (std::sregex_iterator it(help.begin(), help.end(), pattern), end; it != end; ++it) {
        names.insert((*it)[1]);
    }
    return names;
}

TEST(Documentation, OptionsAreRead) {
    EXPECT_THAT(options_in("| `-o`, `--output FILE`"), testing::ElementsAre("--output", "-o"));
    EXPECT_THAT(options_in("--chat,--no-chat{false}"), testing::ElementsAre("--chat", "--no-chat"));
    EXPECT_THAT(options_in("| the first-come -1 of 2"), IsEmpty());
    EXPECT_THAT(documented_options().at(k_common), IsSupersetOf({"-m", "--model", "--json"}));
    EXPECT_THAT(options_of("generate"), IsSupersetOf({"-p", "--prompt", "--no-chat", "--json"}));
    EXPECT_THAT(commands(), IsSupersetOf({"generate", "select-layers", "export"}));
}

TEST(Documentation, EveryOptionOfHelpIsInTheCommandsSection) {
    const std::map<std::string, Names> documented = documented_options();
    for (const std::string &command : commands()) {
        SCOPED_TRACE(command);
        ASSERT_EQ(documented.count(command), 1u) << "no section with a table of options";
        for (const std::string &option : options_of(command)) {
            EXPECT_TRUE(documented.at(command).count(option) +
                        documented.at(k_common).count(option))
                << option << " is not documented";
        }
    }
}

TEST(Documentation, EveryDocumentedOptionIsInHelp) {
    const Names known = commands();
    Names anywhere;
    for (const std::string &command : known) {
        anywhere.merge(options_of(command));
    }
    for (const auto &[section, names] : documented_options()) {
        SCOPED_TRACE(section);
        if (section == k_common) {
            EXPECT_THAT(anywhere, IsSupersetOf(names));
        } else {
            ASSERT_THAT(known, Contains(section)) << "a table of options of no command";
            EXPECT_THAT(options_of(section), IsSupersetOf(names));
        }
    }
}

}  // namespace
}  // namespace orthorank::test
