// A progress bar for long work, on standard error when that is a terminal and silent otherwise:
//
//     perplexity [#########---------------] 37%  1 min 12 s left  ppl 19.31
//
// Owned and updated by one thread. Never throws: a terminal that went away is no reason to stop.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "base/stopwatch.h"

namespace orthorank {

class Progress {
 public:
    // `stream` is borrowed; it is drawn on only if it is a terminal. is_dumb: one that cannot clear
    // a line, so that nothing is drawn.
    explicit Progress(std::string label, std::FILE *stream = stderr, bool is_dumb = false);
    // Clears the line, as finish does.
    ~Progress();
    Progress(const Progress &) = delete;
    Progress &operator=(const Progress &) = delete;

    // Shows how much is done (0..1) and a free text such as the loss so far. Cheap to call often:
    // drawn at most ten times a second.
    void update(double fraction, std::string_view text = {});
    // Clears the line. A later update draws it again.
    void finish();

    bool is_shown() const { return is_terminal_; }

 private:
    std::string label_;
    std::FILE *stream_;
    bool is_terminal_;
    bool is_drawn_ = false;
    Stopwatch since_start_;
    double drawn_at_s_ = 0.0;
};

// The line that Progress draws, at most n_columns characters: label, bar, percentage, the time
// left as elapsed_s and the fraction foretell it, and the text.
std::string progress_line(std::string_view label, double fraction, std::string_view text,
                          double elapsed_s, int n_columns);

// "8 s", "3 min 05 s", "2 h 07 min".
std::string duration_text(double seconds);

}  // namespace orthorank
