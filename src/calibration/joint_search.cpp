#include "calibration/joint_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "calibration/selection_race.h"

namespace orthorank {

namespace {

constexpr double k_infinity = std::numeric_limits<double>::infinity();
constexpr size_t k_runners_up = 3;
// Savings are sums of a few numbers: what is missing after rounding is not missing.
constexpr double k_rounding = 1e-9;

// A move measured in this round.
struct Measured {
    JointMove move;
    double price = k_infinity;
    double rate = k_infinity;
    WindowBlocks blocks;       // growth of the divergence per saving
    bool is_complete = false;  // on all windows
};

bool is_better(const Measured &a, const Measured &b) {
    return a.rate != b.rate               ? a.rate < b.rate
           : a.move.layer != b.move.layer ? a.move.layer < b.move.layer
                                          : a.move.choice < b.move.choice;
}

class Search {
 public:
    Search(JointPrices &prices, const JointOptions &options)
        : prices_(prices),
          options_(options),
          order_(options.done),
          choices_(choices_of(options, options.done)),
          saved_(saved_by(options.done)),
          n_before_(options.done.n_layer_evaluations - prices.n_layer_evaluations()),
          s_before_(options.done.seconds) {
        if (order_.prices.empty()) {
            // Below every price: all moves are measured in the first round.
            order_.prices.assign(options_.layers.size(),
                                 std::vector<double>(options_.savings.size(), -k_infinity));
        }
    }

    JointOrder run() {
        measure_base();
        while (saved_ < options_.target * (1.0 - k_rounding)) {
            run_round();
            count();
            if (options_.on_round) {
                options_.on_round(order_);
            }
        }
        return order_;
    }

 private:
    void run_round() {
        measured_.clear();
        leader_.reset();
        for (const JointMove &move : moves_in_order()) {
            if (is_enough(move)) {
                break;
            }
            measure(move);
        }
        if (!leader_) {
            fail(ErrorKind::format,
                 "no move's divergence from the dense model is a number: {} of {} saved", saved_,
                 options_.target);
        }
        const int n_measured = static_cast<int>(measured_.size());
        const Measured best = measured_[*leader_];
        accept(best);
        measure_base();
        order_.rounds.push_back({best.move, mean(base_means_), saved_, n_measured});
    }

    void measure_base() {
        base_means_.clear();
        base_blocks_.clear();
        for (size_t w = 0; w < prices_.n_windows(); ++w) {
            check_stop();
            const std::vector<float> values = prices_.base_divergences(w);
            base_means_.push_back(mean(values));
            base_blocks_.push_back(block_means(values));
        }
    }

    // The runners-up of the last round, then by the price that is known, per saving.
    std::vector<JointMove> moves_in_order() const {
        std::vector<JointMove> moves;
        for (size_t i = 0; i < options_.layers.size(); ++i) {
            for (size_t c = 0; c < options_.savings.size(); ++c) {
                const JointMove move{options_.layers[i], static_cast<int>(c)};
                if (saving(move) > 0.0) {
                    moves.push_back(move);
                }
            }
        }
        const auto rank = [&](const JointMove &move) {
            return std::find(order_.runners_up.begin(), order_.runners_up.end(), move);
        };
        std::stable_sort(moves.begin(), moves.end(), [&](const JointMove &a, const JointMove &b) {
            return rank(a) != rank(b) ? rank(a) < rank(b) : known_rate(a) < known_rate(b);
        });
        return moves;
    }

    // Divergence grows faster than the sum of its parts, as a rule: an old price is too low, and
    // when even that is above the best new one, nothing better is left.
    bool is_enough(const JointMove &next) const {
        if (options_.brute_force || !leader_ || known_rate(next) == -k_infinity) {
            return false;
        }
        return static_cast<int>(measured_.size()) >= options_.n_again ||
               (!is_runner_up(next) && known_rate(next) >= measured_[*leader_].rate);
    }

    bool is_runner_up(const JointMove &move) const {
        return std::find(order_.runners_up.begin(), order_.runners_up.end(), move) !=
               order_.runners_up.end();
    }

    // Window by window; given up when it is clearly behind the leader.
    void measure(const JointMove &move) {
        Measured measured;
        measured.move = move;
        const double denominator = saving(move);
        const size_t n = prices_.n_windows();
        double growth = 0;
        for (size_t w = 0; w < n; ++w) {
            check_stop();
            const std::vector<float> values = prices_.divergences(w, move);
            growth += mean(values) - base_means_[w];
            measured.blocks.push_back(block_means(values));
            for (size_t b = 0; b < measured.blocks[w].size(); ++b) {
                double &block = measured.blocks[w][b];
                block = (block - base_blocks_[w][b]) / denominator;
            }
            measured.price =
                std::isfinite(growth) ? growth / static_cast<double>(w + 1) : k_infinity;
            report();
            if (!std::isfinite(growth) || (w + 1 < n && is_hopeless(measured))) {
                break;
            }
            measured.is_complete = w + 1 == n;
        }
        measured.rate = measured.price / denominator;
        price_of(move) = measured.price;
        measured_.push_back(std::move(measured));
        if (measured_.back().is_complete &&
            (!leader_ || is_better(measured_.back(), measured_[*leader_]))) {
            leader_ = measured_.size() - 1;
        }
    }

    bool is_hopeless(const Measured &measured) const {
        return leader_ && !options_.brute_force && measured.blocks.size() >= prices_.n_kinds() &&
               is_clearly_behind(measured.blocks, measured_[*leader_].blocks);
    }

    void accept(const Measured &best) {
        const size_t layer = index_of(best.move.layer);
        prices_.accept(best.move);
        saved_ += options_.savings[static_cast<size_t>(best.move.choice)] - saved_in(layer);
        choices_[layer] = best.move.choice;
        // Prices of this layer's further moves count from its new choice.
        for (double &price : order_.prices[layer]) {
            price -= best.price;
        }
        choose_runners_up(best.move);
    }

    void choose_runners_up(const JointMove &best) {
        std::vector<Measured> others;
        for (const Measured &measured : measured_) {
            if (measured.is_complete && measured.move.layer != best.layer) {
                others.push_back(measured);
            }
        }
        std::sort(others.begin(), others.end(), is_better);
        order_.runners_up.clear();
        for (size_t i = 0; i < std::min(k_runners_up, others.size()); ++i) {
            order_.runners_up.push_back(others[i].move);
        }
    }

    // What a move saves of what is still to be saved: more than that is worth nothing.
    double saving(const JointMove &move) const {
        const double saved =
            options_.savings[static_cast<size_t>(move.choice)] - saved_in(index_of(move.layer));
        return std::min(saved, options_.target - saved_);
    }

    double saved_in(size_t layer) const {
        const int choice = choices_[layer];
        return choice < 0 ? 0.0 : options_.savings[static_cast<size_t>(choice)];
    }

    double known_rate(const JointMove &move) const {
        const std::vector<double> &prices = order_.prices[index_of(move.layer)];
        return prices[static_cast<size_t>(move.choice)] / saving(move);
    }

    double &price_of(const JointMove &move) {
        return order_.prices[index_of(move.layer)][static_cast<size_t>(move.choice)];
    }

    size_t index_of(int layer) const {
        const auto found = std::lower_bound(options_.layers.begin(), options_.layers.end(), layer);
        CHECK(found != options_.layers.end() && *found == layer);
        return static_cast<size_t>(found - options_.layers.begin());
    }

    void check_stop() const {
        if (options_.should_stop && options_.should_stop()) {
            throw Interrupted("interrupted");
        }
    }

    void count() {
        order_.n_layer_evaluations = n_before_ + prices_.n_layer_evaluations();
        order_.seconds = s_before_ + watch_.elapsed_s();
    }

    void report() {
        if (options_.on_measured) {
            count();
            options_.on_measured(order_);
        }
    }

    JointPrices &prices_;
    const JointOptions &options_;
    JointOrder order_;
    std::vector<int> choices_;  // by index into options_.layers
    double saved_;
    int64_t n_before_;  // of an earlier run
    double s_before_;
    Stopwatch watch_;
    std::vector<double> base_means_;  // by window
    WindowBlocks base_blocks_;
    std::vector<Measured> measured_;  // in this round
    std::optional<size_t> leader_;    // index into measured_
};

void check_options(const JointOptions &options, size_t n_windows) {
    CHECK(n_windows > 0 && options.n_again > 0 && !options.layers.empty());
    CHECK(!options.savings.empty() && options.savings.front() > 0.0);
    CHECK(std::is_sorted(options.savings.begin(), options.savings.end()));
    const double most = options.savings.back() * static_cast<double>(options.layers.size());
    if (!(options.target <= most * (1.0 + k_rounding))) {
        fail(ErrorKind::usage,
             "the target is out of reach: {} layers that may be changed save {:.4g} of {:.4g} at "
             "most",
             options.layers.size(), most, options.target);
    }
}

}  // namespace

double saved_by(const JointOrder &order) {
    return order.rounds.empty() ? 0.0 : order.rounds.back().saved;
}

std::vector<JointMove> moves_of(const JointOrder &order) {
    std::vector<JointMove> moves;
    for (const JointRound &round : order.rounds) {
        moves.push_back(round.move);
    }
    return moves;
}

std::vector<int> choices_of(const JointOptions &options, const JointOrder &order) {
    std::vector<int> choices(options.layers.size(), -1);
    for (const JointRound &round : order.rounds) {
        const auto found =
            std::lower_bound(options.layers.begin(), options.layers.end(), round.move.layer);
        CHECK(found != options.layers.end() && *found == round.move.layer);
        choices[static_cast<size_t>(found - options.layers.begin())] = round.move.choice;
    }
    return choices;
}

JointOrder search_jointly(JointPrices &prices, const JointOptions &options) {
    check_options(options, prices.n_windows());
    return Search(prices, options).run();
}

}  // namespace orthorank
