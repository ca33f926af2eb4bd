#include "cli/interrupt.h"

#include <fmt/format.h>

#include <csignal>

#include "base/error.h"

namespace orthorank {

namespace {

volatile std::sig_atomic_t g_is_interrupted = 0;
volatile std::sig_atomic_t g_is_terminated = 0;

void on_interrupt(int) {
    g_is_interrupted = 1;
    std::signal(SIGINT, SIG_DFL);
}

void on_termination(int) {
    g_is_terminated = 1;
    std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
    g_is_interrupted = 0;
    std::signal(SIGINT, on_interrupt);
}

void leave_interrupts() {
    std::signal(SIGINT, SIG_DFL);
    g_is_interrupted = 0;
}

bool is_interrupted() {
    return g_is_interrupted != 0;
}

void catch_terminations() {
    std::signal(SIGTERM, on_termination);
}

bool is_terminated() {
    return g_is_terminated != 0;
}

void stop_if_interrupted(std::string_view kept) {
    if (is_interrupted()) {
        throw Interrupted(fmt::format("interrupted; {}", kept));
    }
}

}  // namespace orthorank
