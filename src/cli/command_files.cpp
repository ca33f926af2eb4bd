#include "cli/command_files.h"

#include <unistd.h>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/output_file.h"
#include "cli/environment.h"
#include "cli/shared_options.h"
#include "engine/shipped_plans.h"
#include "model/gguf_output.h"

namespace orthorank {

namespace {

constexpr const char *k_stdout = "/dev/stdout";

bool is_input_type(const std::string &type) {
    return type == "FILE" || type == "PLAN" || type == "ARM,...";
}

}  // namespace

bool is_stdout(const std::string &path) {
    return path == "-" || descriptor_named(link_target(path)) == 1;
}

CommandFiles::CommandFiles(const CLI::App &command) {
    bool reads_shipped = false;
    for (const CLI::Option *option : command.get_options()) {
        reads_shipped = reads_shipped ||
                        (option->get_type_name() == k_shipped_plan_type && option->count() > 0);
        const std::string name = option->get_name();
        const bool is_output = option->get_type_name() == k_output_type;
        if (!is_output && !is_input_type(option->get_type_name())) {
            continue;
        }
        for (const std::string &path : option->results()) {
            is_output ? writes(path, name) : reads(path, name);
            reads_shipped = reads_shipped || is_by_sparsity(path);
        }
    }
    if (reads_shipped) {
        for (const std::filesystem::path &path : plan_files_in(shipped_plans_dir())) {
            reads(path.string(), "the shipped plan");
        }
    }
    if (command.get_option_no_throw("--model") != nullptr && command.count("--model") == 0) {
        reads(model_path({}), "the model");
    }
    for (const Use &output : outputs_) {
        refuse_gguf_output(output.path);
    }
}

void CommandFiles::reads(const std::string &path, const std::string &what) {
    if (::access(path.c_str(), F_OK) != 0) {
        return;  // no file: whoever reads it says so; or a word such as "dense"
    }
    const Use use{path, what, file_identity(path)};
    refuse_one_of(outputs_, use);
    inputs_.push_back(use);
}

void CommandFiles::writes(const std::string &path, const std::string &what) {
    if (path.empty()) {
        return;
    }
    const Use use{path, what, file_identity(is_stdout(path) ? k_stdout : path)};
    for (const Use &other : outputs_) {
        if (is_stdout(path) && is_stdout(other.path)) {
            fail(ErrorKind::usage, "{} and {} cannot both have standard output", other.what, what);
        }
    }
    refuse_one_of(inputs_, use);
    refuse_one_of(outputs_, use);
    if (!is_stdout(path)) {
        check_writable(path);
    }
    outputs_.push_back(use);
}

void CommandFiles::refuse_one_of(const std::vector<Use> &uses, const Use &use) {
    for (const Use &other : uses) {
        if (use.identity && use.identity == other.identity) {
            fail(ErrorKind::usage, "{} {} and {} {} are the same file: name another output",
                 other.what, other.path, use.what, use.path);
        }
    }
}

}  // namespace orthorank
