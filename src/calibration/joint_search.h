// The joint search: which layers become what, at once (docs/layer-selection.md, Joint search).
// Greedy descent: a move makes one layer cheaper, its price is the growth of the Kullback-Leibler
// divergence to the dense model, and the move with the lowest price per cost saved is taken until
// the target is reached. Prices are measured again lazily. Here is the search alone, over any model
// of prices (JointPrices); calibration/joint_model.h measures them on an engine. One thread. Throws
// Error{usage} for a target out of reach, Error{format} when no price is a number, Interrupted when
// asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace orthorank {

// A layer gets one of the choices. They are numbered from 0, which saves least.
struct JointMove {
    int layer = -1;
    int choice = -1;

    bool operator==(const JointMove &) const = default;
};

// Where the divergences come from. The base is the model with the moves accepted so far.
class JointPrices {
 public:
    virtual ~JointPrices() = default;
    virtual size_t n_windows() const = 0;
    // The first so many windows are of different kinds: a move is not given up before it ran them.
    virtual size_t n_kinds() const { return 1; }
    // Of the base from the dense model, a value per token of the window, in nats.
    virtual std::vector<float> base_divergences(size_t window) = 0;
    // Of the base with this move, which replaces an earlier move of its layer.
    virtual std::vector<float> divergences(size_t window, const JointMove &move) = 0;
    virtual void accept(const JointMove &move) = 0;
    // Layers computed so far, each for one window.
    virtual int64_t n_layer_evaluations() const = 0;
};

struct JointRound {
    JointMove move;
    double divergence = 0;  // of the model after it: mean over tokens and windows
    double saved = 0;       // by all moves so far
    int n_measured = 0;     // moves measured in this round
};

// How far a search is; one that starts with this continues there.
struct JointOrder {
    std::vector<JointRound> rounds;
    // The price that was last measured, by layer of JointOptions::layers and by choice, against the
    // layer as it is now; infinite: the divergence was not a number. Empty before the first round.
    std::vector<std::vector<double>> prices;
    // The next best of the last round, best first: measured first in the next one.
    std::vector<JointMove> runners_up;
    int64_t n_layer_evaluations = 0;
    double seconds = 0;
};

struct JointOptions {
    std::vector<int> layers;      // that may be changed, ascending
    std::vector<double> savings;  // what a layer with this choice saves, ascending, above 0
    double target = 0;            // what is to be saved, in the unit of savings
    int n_again = 8;              // moves measured in a round after the first, at most
    bool brute_force = false;     // every move in every round, to its last window
    JointOrder done;
    std::function<void(const JointOrder &)> on_round;
    std::function<void(const JointOrder &)> on_measured;  // after each window of a move
    std::function<bool()> should_stop;                    // asked before each window
};

// What was saved by the rounds so far, their moves in order, and the choice of each layer of
// options.layers (-1: dense).
double saved_by(const JointOrder &order);
std::vector<JointMove> moves_of(const JointOrder &order);
std::vector<int> choices_of(const JointOptions &options, const JointOrder &order);

// Runs rounds until the target is reached. The prices must stand at the base of options.done.
JointOrder search_jointly(JointPrices &prices, const JointOptions &options);

}  // namespace orthorank
