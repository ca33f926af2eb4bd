#include "reproduction/reproduce.h"

#include "base/stopwatch.h"
#include "reproduction/commands_text.h"

namespace orthorank {

Needs needs_of(const Workshop &workshop, std::span<const Entry> entries) {
    Needs needs;
    for (const Entry &entry : entries) {
        needs.add(entry.needs(workshop));
    }
    return needs;
}

void do_work(Workshop &workshop, std::span<const Work> works,
             const std::function<void(const WorkProgress &)> &on_progress) {
    double expected = 0;
    for (const Work &work : works) {
        expected += work.seconds;
    }
    double done = 0;
    WorkProgress progress;
    progress.n_all = works.size();
    for (const Work &work : works) {
        workshop.check_stop();
        const Stopwatch watch;
        progress.at = &work;
        const auto report = [&](double part, bool is_finished) {
            progress.fraction = expected > 0 ? (done + part * work.seconds) / expected : 0;
            progress.is_finished = is_finished;
            progress.seconds = watch.elapsed_s();
            on_progress(progress);
        };
        work.run([&](double part) {
            workshop.check_stop();
            report(part, false);
        });
        ++progress.n_done;
        report(1, true);
        done += work.seconds;
    }
}

std::vector<EntryReport> entry_reports(const Workshop &workshop, std::span<const Entry> entries,
                                       const std::string &model_options) {
    std::vector<EntryReport> reports;
    for (const Entry &entry : entries) {
        reports.push_back({entry, entry.show(workshop),
                           commands_text(workshop, entry.needs(workshop), model_options)});
    }
    return reports;
}

}  // namespace orthorank
