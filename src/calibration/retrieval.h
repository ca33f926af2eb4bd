// Calibration windows for what a loss over running text does not see: each asks at its end for a
// number that stands far before, and its targets are the answer alone (evaluation/passkey.h).
#pragma once

#include "evaluation/windows.h"
#include "model/vocab.h"

namespace orthorank {

// Adds n such windows, each of n_ctx tokens made of the text of one that is there, the number at
// depths spread evenly. Throws Error{limit} when the windows are too short for the question.
void add_retrieval_windows(Windows &windows, int n, const Vocab &vocab);

// Of running text, and with windows that ask also these.
size_t n_kinds_of(const Windows &windows);

// The order in which windows are measured where a candidate may be given up: n_plain of running
// text (from 0 on) and n_asking that ask (behind them), both spread evenly; the first two are one
// of each.
std::vector<size_t> order_by_kind(size_t n_plain, size_t n_asking);

}  // namespace orthorank
