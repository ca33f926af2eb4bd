// Which rows of a batch a graph works on: the bridge from lists of rows to shapes (graph/block.h)
// and to the contents of their input tensors. Internal to the engine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "graph/block.h"

namespace orthorank {

// A row of the batch: chunk index and row within the chunk. Lists are ascending in both.
struct RowRef {
    int chunk = 0;
    int32_t row = 0;
};

// Does this chunk decode: one new row behind a past?
bool is_step(const Chunk &chunk, int n_embd);

class RowSets {
 public:
    // Chunks that decode come first. The batch must live as long.
    RowSets(const KvCache &cache, std::span<const Chunk> batch, const Hparams &hparams);

    int n_rows() const { return static_cast<int>(refs_.size()); }
    // Row r of the packed batch.
    const RowRef &ref(int r) const { return refs_[static_cast<size_t>(r)]; }
    // The packed row of a chunk's row.
    int packed(const RowRef &ref) const { return first_row_[ref.chunk] + ref.row; }
    int first_row(size_t chunk) const { return first_row_[chunk]; }
    std::span<const RowRef> range(int first, int end) const {
        return std::span<const RowRef>(refs_).subspan(first, end - first);
    }
    int64_t position(const RowRef &ref) const;
    int32_t token(const RowRef &ref) const;
    // Every cell that these rows' attention looks at, valid or hidden, is opened.
    void open_cells(KvCache &cache) const;
    // The first rows of the batch, one of each of several sequences that all have a past: they
    // decode together. 0: at most one does.
    int n_steps() const { return n_steps_; }

    // n rounded up so that graphs are reused, where all rows decode together.
    int padded(int n) const;
    // pad: round the number of rows up, likewise.
    RowSet shape(std::span<const RowRef> refs, bool pad) const;
    // Positions, masks, slot maps, and tokens where layers need them. il >= 0: in that layer, keys
    // of unselected rows are hidden from sequences whose policy says so.
    void fill(const RowInputs &inputs, const RowSet &rows, std::span<const RowRef> refs,
              int il = -1) const;
    std::vector<int64_t> cells(std::span<const RowRef> refs) const;

 private:
    size_t n_steps_in(std::span<const RowRef> refs) const;
    void fill_batched(const RowInputs &inputs, const RowSet &rows, std::span<const RowRef> refs,
                      int il) const;
    void fill_mask_row(uint16_t *mask, int n_kv, const RowRef &ref, int window, int il) const;

    const KvCache &cache_;
    const Hparams &hparams_;
    std::span<const Chunk> batch_;
    std::vector<RowRef> refs_;
    std::vector<int> first_row_;
    int n_steps_ = 0;
    int first_slot_ = 0;  // of all sequences that decode together
    int n_slots_ = 0;
    int n_kv_ = 0;
};

}  // namespace orthorank
