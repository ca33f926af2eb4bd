#include "engine/row_sets.h"

#include <algorithm>

#include "base/error.h"
#include "graph/runner.h"

namespace orthorank {

namespace {

constexpr uint16_t k_f16_zero = 0x0000;
constexpr uint16_t k_f16_minus_infinity = 0xfc00;

int padded_kv(int64_t n) {
    return static_cast<int>((n + k_kv_padding - 1) / k_kv_padding * k_kv_padding);
}

// Few different row counts, so that a decode step finds its graph again.
int padded_rows(int n) {
    return n <= 2 ? n : (n + 3) / 4 * 4;
}

}  // namespace

bool is_step(const Chunk &chunk, int n_embd) {
    return chunk.n_rows(n_embd) == 1 && chunk.sequence->n_past() > 0;
}

RowSets::RowSets(const KvCache &cache, std::span<const Chunk> batch, const Hparams &hparams)
    : cache_(cache), hparams_(hparams), batch_(batch) {
    const int n_embd = hparams.n_embd;
    for (size_t i = 0; i < batch.size(); ++i) {
        first_row_.push_back(static_cast<int>(refs_.size()));
        const auto n = static_cast<int32_t>(batch[i].n_rows(n_embd));
        for (int32_t row = 0; row < n; ++row) {
            refs_.push_back({static_cast<int>(i), row});
        }
    }
    size_t n = 0;
    while (n < batch.size() && is_step(batch[n], n_embd)) {
        ++n;
    }
    if (n < 2) {
        return;
    }
    n_steps_ = static_cast<int>(n);
    int last_slot = 0;
    first_slot_ = batch.front().sequence->slot();
    for (const RowRef &ref : range(0, n_steps_)) {
        const int slot = batch[static_cast<size_t>(ref.chunk)].sequence->slot();
        first_slot_ = std::min(first_slot_, slot);
        last_slot = std::max(last_slot, slot);
        n_kv_ = std::max(n_kv_, padded_kv(position(ref) + 1));
    }
    n_slots_ = last_slot - first_slot_ + 1;
}

int64_t RowSets::position(const RowRef &ref) const {
    return batch_[ref.chunk].sequence->n_past() + ref.row;
}

int32_t RowSets::token(const RowRef &ref) const {
    return batch_[ref.chunk].tokens[static_cast<size_t>(ref.row)];
}

void RowSets::open_cells(KvCache &cache) const {
    for (int slot = first_slot_; slot < first_slot_ + n_slots_; ++slot) {
        cache.open_cells(slot, n_kv_);
    }
    for (size_t i = static_cast<size_t>(n_steps_); i < batch_.size(); ++i) {
        const int end = i + 1 < batch_.size() ? first_row_[i + 1] : n_rows();
        if (end > first_row_[i]) {
            cache.open_cells(batch_[i].sequence->slot(), padded_kv(position(ref(end - 1)) + 1));
        }
    }
}

int RowSets::padded(int n) const {
    return n_steps_ == n_rows() ? padded_rows(n) : n;
}

// How many of the rows decode together.
size_t RowSets::n_steps_in(std::span<const RowRef> refs) const {
    size_t n = 0;
    while (n < refs.size() && refs[n].chunk < n_steps_) {
        ++n;
    }
    return n;
}

RowSet RowSets::shape(std::span<const RowRef> refs, bool pad) const {
    RowSet rows;
    rows.n_rows = static_cast<int>(refs.size());
    const size_t n_steps = n_steps_in(refs);
    if (n_steps > 0) {
        // The same slots and cells whichever rows were picked, or nearly every pick would need a
        // graph of its own; what is hidden costs one comparison a cell.
        rows.n_batched = static_cast<int>(n_steps);
        rows.first_slot = first_slot_;
        rows.n_slots = n_slots_;
        rows.n_kv = n_kv_;
        if (pad && n_steps_ == n_rows()) {
            rows.n_batched = padded_rows(rows.n_batched);
            rows.n_rows = rows.n_batched;
        }
    }
    for (size_t i = n_steps; i < refs.size(); ++i) {
        const RowRef &ref = refs[i];
        if (i == n_steps || refs[i - 1].chunk != ref.chunk) {
            rows.pieces.push_back({static_cast<int>(i), 0, batch_[ref.chunk].sequence->slot(), 0});
        }
        rows.pieces.back().n_rows += 1;
        rows.pieces.back().n_kv = padded_kv(position(ref) + 1);
    }
    return rows;
}

// The row itself is the last of its window (0: of all positions before it).
void RowSets::fill_mask_row(uint16_t *mask, int n_kv, const RowRef &ref, int window, int il) const {
    const Sequence &sequence = *batch_[ref.chunk].sequence;
    const int64_t n_visible = position(ref) + 1;
    const int64_t first = window > 0 ? std::max<int64_t>(0, n_visible - window) : 0;
    std::fill(mask, mask + first, k_f16_minus_infinity);
    std::fill(mask + first, mask + n_visible, k_f16_zero);
    std::fill(mask + n_visible, mask + n_kv, k_f16_minus_infinity);
    if (il < 0 || sequence.plan().layers[il].action != Action::select ||
        sequence.plan().layers[il].policy.kv != KvScope::selected) {
        return;
    }
    const std::vector<uint8_t> &chosen = sequence.record(il).chosen;
    for (int64_t i = first; i < n_visible; ++i) {
        if (chosen[static_cast<size_t>(i)] == 0) {
            mask[i] = k_f16_minus_infinity;
        }
    }
}

void RowSets::fill(const RowInputs &inputs, const RowSet &rows, std::span<const RowRef> refs,
                   int il) const {
    std::vector<int32_t> positions(static_cast<size_t>(rows.n_rows), 0);
    for (size_t i = 0; i < refs.size(); ++i) {
        positions[i] = static_cast<int32_t>(position(refs[i]));
    }
    set_input(inputs.positions, positions.data(), positions.size() * sizeof(int32_t));

    if (inputs.tokens != nullptr) {
        std::vector<int32_t> tokens(positions.size(), 0);
        for (size_t i = 0; i < refs.size(); ++i) {
            tokens[i] = token(refs[i]);
        }
        set_input(inputs.tokens, tokens.data(), tokens.size() * sizeof(int32_t));
    }
    if (inputs.temperatures != nullptr) {
        std::vector<float> temperatures;
        for (const int32_t position : positions) {
            temperatures.push_back(query_temperature(hparams_, position));
        }
        set_input(inputs.temperatures, temperatures.data(), temperatures.size() * sizeof(float));
    }
    if (rows.n_batched > 0) {
        fill_batched(inputs, rows, refs.first(n_steps_in(refs)), il);
    }
    for (size_t w = 0; w < hparams_.windows.size(); ++w) {
        for (size_t p = 0; p < rows.pieces.size(); ++p) {
            const Piece &piece = rows.pieces[p];
            write_input(inputs.masks[w * rows.pieces.size() + p], [&](uint16_t *values) {
                for (int r = 0; r < piece.n_rows; ++r) {
                    fill_mask_row(values + static_cast<size_t>(r) * piece.n_kv, piece.n_kv,
                                  refs[static_cast<size_t>(piece.first_row + r)],
                                  hparams_.windows[w], il);
                }
            });
        }
    }
}

void RowSets::fill_batched(const RowInputs &inputs, const RowSet &rows,
                           std::span<const RowRef> refs, int il) const {
    std::vector<int32_t> row_of_slot(static_cast<size_t>(rows.n_slots), 0);
    std::vector<int32_t> slot_of_row(static_cast<size_t>(rows.n_batched), 0);
    for (size_t i = 0; i < refs.size(); ++i) {
        const int slot = batch_[refs[i].chunk].sequence->slot() - rows.first_slot;
        row_of_slot[slot] = static_cast<int32_t>(i);
        slot_of_row[i] = slot;
    }
    for (size_t i = refs.size(); i < slot_of_row.size(); ++i) {
        slot_of_row[i] = slot_of_row.front();  // padding: any slot that has a row
    }
    for (size_t w = 0; w < hparams_.windows.size(); ++w) {
        write_input(inputs.batch_masks[w], [&](uint16_t *mask) {
            std::fill(mask, mask + static_cast<size_t>(rows.n_kv) * rows.n_slots,
                      k_f16_minus_infinity);
            for (size_t i = 0; i < refs.size(); ++i) {
                fill_mask_row(mask + static_cast<size_t>(slot_of_row[i]) * rows.n_kv, rows.n_kv,
                              refs[i], hparams_.windows[w], il);
            }
        });
    }
    set_input(inputs.row_of_slot, row_of_slot.data(), row_of_slot.size() * sizeof(int32_t));
    set_input(inputs.slot_of_row, slot_of_row.data(), slot_of_row.size() * sizeof(int32_t));
}

std::vector<int64_t> RowSets::cells(std::span<const RowRef> refs) const {
    std::vector<int64_t> cells;
    cells.reserve(refs.size());
    for (const RowRef &ref : refs) {
        cells.push_back(cache_.cell(batch_[ref.chunk].sequence->slot(), position(ref)));
    }
    return cells;
}

}  // namespace orthorank
