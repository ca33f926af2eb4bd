#include "cli/interrupt.h"

#include <fmt/format.h>

#include <csignal>

#include "base/error.h"

namespace orthorank {

namespace {

volatile std::sig_atomic_t g_is_interrupted = 0;

void on_interrupt(int) {
    g_is_interrupted = 1;
    std::signal(SIGINT, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
    std::signal(SIGINT, on_interrupt);
}

bool is_interrupted() {
    return g_is_interrupted != 0;
}

void stop_if_interrupted(std::string_view kept) {
    if (is_interrupted()) {
        throw Interrupted(fmt::format("interrupted; {}", kept));
    }
}

}  // namespace orthorank
