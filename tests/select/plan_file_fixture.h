// For tests of plan files: a folder for them, and with which message one is refused.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/output_file.h"
#include "select/plan.h"
#include "support/temp_dir_test.h"

namespace orthorank {

class PlanFile : public test::TempDirTest {
 protected:
    // The message with which this text is refused, without the path in front.
    std::string refusal(const std::string &text, ErrorKind kind = ErrorKind::format) const {
        const std::string file = path("x.json");
        write_file_atomically(file, text);
        return refusal_of_file(file, kind);
    }

    static std::string refusal_of_file(const std::string &file, ErrorKind kind) {
        try {
            read_plan(file);
        } catch (const Error &error) {
            EXPECT_EQ(error.kind(), kind) << error.what();
            EXPECT_THAT(error.what(), testing::StartsWith(file + ": "));
            return std::string(error.what()).substr(file.size() + 2);
        }
        return "accepted";
    }

    // A plan for 32 layers with these entries in its list of layers.
    static std::string with_layers(const std::string &layers) {
        return R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 32},
                   "layers": [)" +
               layers + "]}";
    }

    std::string layer_refusal(const std::string &layers) const {
        return refusal(with_layers(layers));
    }
};

}  // namespace orthorank
