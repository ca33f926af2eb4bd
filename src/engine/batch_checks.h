// What can be wrong with a batch, found before anything is touched. Internal to the engine.
#pragma once

#include <span>

#include "engine/engine.h"

namespace orthorank {

// The batch itself, if a forward pass may be made of it. Throws Error{request} for a token id
// outside the vocabulary and for a sequence that is another engine's, has gone or is in another
// pass, Error{limit} for more tokens than the context holds, Error{usage} for a policy that cannot
// score these rows. A batch that only a mistake of ours can bring about fails a CHECK.
std::span<const Chunk> checked(const Engine::Impl &engine, std::span<const Chunk> batch,
                               const ForwardOptions &options);

}  // namespace orthorank
