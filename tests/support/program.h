// Runs a program and catches what it prints: for tests of the commands.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "support/paths.h"

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

// A program that runs beside the test, such as a server: killed with this object if it still runs,
// and with the thread that made it, however that ends.
class RunningProgram {
 public:
    RunningProgram(const std::string &program, const std::vector<std::string> &arguments);
    ~RunningProgram();
    RunningProgram(const RunningProgram &) = delete;
    RunningProgram &operator=(const RunningProgram &) = delete;

    // Waits until standard error has the text; false when the program ends before, or after a
    // minute.
    bool says(const std::string &text) const;
    std::string err() const;
    void send_signal(int signal) const;
    // Waits for its end.
    ProgramResult wait();

 private:
    TempDir dir_;
    pid_t pid_ = -1;
};

}  // namespace orthorank::test
