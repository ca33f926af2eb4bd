#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace orthorank {
namespace {

constexpr double k_redraw_s = 0.1;
constexpr int k_bar_width = 24;
constexpr int k_default_columns = 80;
constexpr const char *k_clear_line = "\r\x1b[K";

int n_terminal_columns(std::FILE *stream) {
    winsize size{};
    if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        return k_default_columns;
    }
    return size.ws_col;
}

}  // namespace

Progress::Progress(std::string label, std::FILE *stream, bool is_dumb)
    : label_(std::move(label)),
      stream_(stream),
      is_terminal_(::isatty(::fileno(stream)) != 0 && !is_dumb) {}

Progress::~Progress() {
    finish();
}

void Progress::update(double fraction, std::string_view text) {
    if (!is_terminal_) {
        return;
    }
    const double now_s = since_start_.elapsed_s();
    if (is_drawn_ && now_s - drawn_at_s_ < k_redraw_s) {
        return;
    }
    // One column stays free: a full line makes some terminals wrap.
    const std::string line =
        progress_line(label_, fraction, text, now_s, n_terminal_columns(stream_) - 1);
    std::fputs(k_clear_line, stream_);
    std::fwrite(line.data(), 1, line.size(), stream_);
    std::fflush(stream_);
    is_drawn_ = true;
    drawn_at_s_ = now_s;
}

void Progress::finish() {
    if (is_drawn_) {
        std::fputs(k_clear_line, stream_);
        std::fflush(stream_);
        is_drawn_ = false;
    }
}

std::string progress_line(std::string_view label, double fraction, std::string_view text,
                          double elapsed_s, int n_columns) {
    const double done = fraction >= 0.0 ? std::min(fraction, 1.0) : 0.0;  // NaN: 0
    const int n_filled = static_cast<int>(done * k_bar_width);
    std::string line = fmt::format("{} [{:#<{}}{:-<{}}] {:.0f}%", label, "", n_filled, "",
                                   k_bar_width - n_filled, std::floor(100.0 * done));
    if (done > 0.0 && done < 1.0) {
        line += fmt::format("  {} left", duration_text(elapsed_s * (1.0 - done) / done));
    }
    if (!text.empty()) {
        line += fmt::format("  {}", text);
    }
    if (line.size() > static_cast<size_t>(std::max(n_columns, 0))) {
        line.resize(static_cast<size_t>(std::max(n_columns, 0)));
    }
    return line;
}

std::string duration_text(double seconds) {
    if (!(seconds < 1e9)) {
        return "a long time";
    }
    const long total = std::lround(std::max(seconds, 0.0));
    if (total < 60) {
        return fmt::format("{} s", total);
    }
    if (total < 3600) {
        return fmt::format("{} min {:02} s", total / 60, total % 60);
    }
    return fmt::format("{} h {:02} min", total / 3600, total % 3600 / 60);
}

}  // namespace orthorank
