// A reproduction of the paper's tables and figures for one model: everything that they need is
// measured, once each, and shown beside the paper's values. Goes on with what an earlier run of the
// same settings has finished.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reproduction/entries.h"
#include "reproduction/work_list.h"
#include "reproduction/workshop.h"

namespace orthorank {

// How far the work is.
struct WorkProgress {
    size_t n_done = 0;  // pieces of work
    size_t n_all = 0;
    double fraction = 0;       // of the time that was expected for all
    const Work *at = nullptr;  // at work, or just finished
    bool is_finished = false;  // it
    double seconds = 0;        // that it took so far
};

// What these entries need.
Needs needs_of(const Workshop &workshop, std::span<const Entry> entries);

// Does the work into the workshop's findings. Throws Interrupted when asked to stop; what was
// finished is kept.
void do_work(Workshop &workshop, std::span<const Work> works,
             const std::function<void(const WorkProgress &)> &on_progress);

// An entry as it is reported.
struct EntryReport {
    Entry entry;
    EntryResult result;
    std::vector<std::string> commands;
};
std::vector<EntryReport> entry_reports(const Workshop &workshop, std::span<const Entry> entries,
                                       const std::string &model_options);

}  // namespace orthorank
