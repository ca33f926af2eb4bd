// The folder in which an RPC server keeps weights for its next client: ggml's, a file for each
// tensor of more than 10 MiB, named by the FNV-1a hash of its bytes.
#pragma once

#include <string>

namespace orthorank {

// Makes the folder if only that is missing, and removes files whose bytes are not what their names
// say: ggml writes them in place and believes the name, so that one cut short, by Ctrl-C or a full
// disk, would give wrong weights. Looks at those that came since it looked last. Throws Error{file}
// for a folder that cannot be made or written.
void prepare_rpc_cache(const std::string &path);

}  // namespace orthorank
