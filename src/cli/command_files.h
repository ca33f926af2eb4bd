// The files that a command line reads and writes: none is both, and no output is named twice, under
// whatever name. What --help shows as an option's type decides: FILE, PLAN and ARM are read, of
// SHARE all shipped plans, OUT is written. Used by one command at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file_identity.h"

namespace orthorank {

// The type of an option that names a file to write.
constexpr const char *k_output_type = "OUT";
// And of one that names a shipped plan by its sparsity, for which all of them are looked through.
constexpr const char *k_shipped_plan_type = "SHARE";

// Whether an output is standard output: "-", /dev/stdout or another name of it.
bool is_stdout(const std::string &path);

class CommandFiles {
 public:
    // Those that the options of a parsed command name, and the model that is read without one.
    // Throws as reads and writes do, and as refuse_gguf_output; main asks for it before any command
    // runs.
    explicit CommandFiles(const CLI::App &command);

    // Further ones, known later: of a data folder, beside an output. `what` names them in messages.
    // Each throws Error{usage} when the other side has the file; writes also throws for one that is
    // written already, and Error{file} as check_writable does.
    void reads(const std::string &path, const std::string &what);
    void writes(const std::string &path, const std::string &what);

 private:
    struct Use {
        std::string path;
        std::string what;
        std::optional<FileIdentity> identity;
    };
    // Throws when `use` is one of them.
    static void refuse_one_of(const std::vector<Use> &uses, const Use &use);

    std::vector<Use> inputs_;
    std::vector<Use> outputs_;
};

}  // namespace orthorank
