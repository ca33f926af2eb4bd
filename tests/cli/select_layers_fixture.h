// For tests of `orthorank select-layers`: a tiny model of eight layers and a text.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "support/command_fixture.h"

namespace orthorank::test {

inline TinyModel eight_layers() {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 8;
    return tiny;
}

class SelectLayersCommand : public CommandTest {
 protected:
    SelectLayersCommand() : CommandTest(eight_layers()) {
        std::string text;
        for (int i = 0; i < 12; ++i) {
            text += "the quick brown fox jumps over the lazy dog number " + std::to_string(i * i) +
                    " and goes on\n";
        }
        write_bytes(text_, text);
    }

    // The command with short windows; `more` comes behind.
    std::vector<std::string> select(const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {
            "select-layers", "--calibration", text_, "--seqlen", "32", "--windows", "3"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    nlohmann::json read(const std::string &name) const {
        return nlohmann::json::parse(read_bytes(dir_.file(name)));
    }
    std::set<int> layers(const std::string &name) const {
        std::set<int> found;
        const nlohmann::json plan = read(name);
        for (const nlohmann::json &layer : plan.at("layers")) {
            found.insert(layer.at("index").get<int>());
        }
        return found;
    }

    std::string text_ = dir_.file("text.txt");
    std::string out_ = dir_.file("found.json");
};

}  // namespace orthorank::test
