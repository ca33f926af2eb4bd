// Runs a program and catches what it prints: for tests of the commands.
#pragma once

#include <string>
#include <vector>

namespace orthorank::test {

struct ProgramResult {
    int exit_code = -1;  // 128 + n: ended by signal n
    std::string out;
    std::string err;
};

struct ProgramInput {
    std::string text;                      // standard input
    std::vector<std::string> environment;  // further NAME=value
    std::string out_path;                  // standard output goes there instead of into the result
    // SIGINT once this file has something in it, or, of a named pipe, once the program reads it;
    // the pipe then gets `text`.
    std::string interrupt_when = {};
    // Standard error is a terminal, and SIGINT comes with the first that is drawn on it.
    bool interrupts_at_progress = false;
};

ProgramResult run_program(const std::string &program, const std::vector<std::string> &arguments,
                          const ProgramInput &input = {});

}  // namespace orthorank::test
