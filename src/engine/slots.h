// Which slots of an engine's KV cache are free. Shared by the engine and its sequences.
#pragma once

#include <algorithm>
#include <vector>

namespace orthorank {

class Slots {
 public:
    explicit Slots(int n) : is_used_(static_cast<size_t>(n), false) {}

    // The lowest free slot, or -1.
    int take() {
        for (size_t i = 0; i < is_used_.size(); ++i) {
            if (!is_used_[i]) {
                is_used_[i] = true;
                return static_cast<int>(i);
            }
        }
        return -1;
    }
    int n_free() const {
        return static_cast<int>(std::count(is_used_.begin(), is_used_.end(), false));
    }
    void give_back(int slot) { is_used_[static_cast<size_t>(slot)] = false; }

 private:
    std::vector<bool> is_used_;
};

}  // namespace orthorank
