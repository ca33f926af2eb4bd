// Ctrl-C during long work: the first one asks it to end in good order, with exit code 130 and all
// finished parts kept; a second one ends the program at once. Used by one command at a time.
#pragma once

#include <string_view>

namespace orthorank {

// From now on, as if there had been none. Long work has to ask: a command that calls this must come
// by one of the others.
void catch_interrupts();

// Ctrl-C ends the program again.
void leave_interrupts();

bool is_interrupted();

// The same for SIGTERM, for what runs until it is told to end.
void catch_terminations();

bool is_terminated();

// Throws Interrupted, whose message says what is kept, where is_interrupted().
void stop_if_interrupted(std::string_view kept = "nothing was written");

}  // namespace orthorank
