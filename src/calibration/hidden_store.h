// Hidden states of many windows: one block of floats of equal size per slot, the first ones in
// memory up to a budget, the others in a temporary file that goes away with the object. One thread.
// Throws Error{file} when the disk refuses.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

namespace orthorank {

class HiddenStore {
 public:
    // budget_bytes: what may stay in memory. The file is made in the system's folder for temporary
    // files ($TMPDIR) once it is needed.
    HiddenStore(size_t n_slots, size_t n_floats, int64_t budget_bytes);

    void write(size_t slot, std::span<const float> block);
    // What was last written there; `scratch` holds it if it comes from the file.
    std::span<const float> read(size_t slot, std::vector<float> &scratch) const;

    size_t n_slots() const { return n_slots_; }
    // Slots that live in the file.
    size_t n_spilled() const { return n_slots_ - in_memory_.size(); }

 private:
    void open_file();
    void seek(size_t slot) const;

    struct Closer {
        void operator()(std::FILE *file) const { std::fclose(file); }
    };
    size_t n_slots_;
    size_t n_floats_;
    std::vector<std::vector<float>> in_memory_;
    std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace orthorank
