// Calibration windows for what a loss over running text does not see: each asks at its end for a
// number that stands far before, and its targets are the answer alone (evaluation/passkey.h).
#pragma once

#include "evaluation/windows.h"
#include "model/vocab.h"

namespace orthorank {

// Adds n such windows, each of n_ctx tokens made of the text of one that is there, the number at
// depths spread evenly. Throws Error{limit} when the windows are too short for the question.
void add_retrieval_windows(Windows &windows, int n, const Vocab &vocab);

}  // namespace orthorank
