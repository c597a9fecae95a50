// The forward pass, in the order of the encoder's layers, over whatever set of instructions `Isa` stands for:
//
//   Isa::Projected                what queries, keys and values are kept as
//   Isa::Session                  set up while a pass runs
//   Isa::multiply(codes, stride, rows, linear, out)   calls out(row, column, sixteen floats) for every part of the
//   product Isa::StoreProjected           such an `out`, for the projection Isa::attend(...)              the attention
//   of one text
//
// Everything but attention concerns a token by itself. So a text's vector depends on no other text of its batch, and
// there is no padding: texts lie one behind the other.
#pragma once

#include "lanes.h"
#include "scratch.h"

namespace anchorage {
namespace {

// Writes product + residual.
struct AddResidual {
  float* sums;
  const float* residual;
  int hidden;
  void operator()(int row, int column, __m512 product) const {
    const int at = row * hidden + column;
    _mm512_storeu_ps(sums + at, _mm512_add_ps(product, _mm512_loadu_ps(residual + at)));
  }
};

// Writes the codes of GELU(product).
struct Widen {
  uint8_t* codes;
  const float* multipliers;
  __m512i zeroPoint;
  int stride;
  void operator()(int row, int column, __m512 product) const {
    const __m128i rounded = codesOf(gelu(product), _mm512_loadu_ps(multipliers + column), zeroPoint);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + row * stride + column), rounded);
  }
};

// Words, positions and token types, added and normalized, and their codes for layer 0. `place` is within a text.
inline void embed(const Model& model, int32_t id, int place, float* row, uint8_t* codes) {
  const int hidden = model.hidden;
  const int8_t* word = model.words + static_cast<int64_t>(id) * hidden;
  const __m512 step = _mm512_set1_ps(model.wordSteps[id]);
  const float* position = model.positionRows + static_cast<int64_t>(place) * hidden;
  for (int i = 0; i < hidden; i += LANES) {
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(word + i)));
    _mm512_storeu_ps(row + i, _mm512_fmadd_ps(_mm512_cvtepi32_ps(wide), step, _mm512_loadu_ps(position + i)));
  }
  normalize(row, hidden, model.embeddingNorm, model.epsilon, row);
  roundRow(row, hidden, model.layers[0].hidden, codes);
}

// What follows attention, for up to ROWS tokens; `next` rounds the result for the layer behind, null after the last
// one.
template <class Isa>
void feedForward(const Model& model, const Layer& layer, const Rounding* next, int first, int rows, Scratch& scratch) {
  const int hidden = model.hidden;
  float* states = scratch.hidden.get() + first * hidden;
  uint8_t* codes = scratch.codes.get() + first * hidden;
  float* sums = scratch.sums.get();
  uint8_t* widened = scratch.widened.get();
  const int wide = layer.output.inputs;

  Isa::multiply(codes, hidden, rows, layer.attentionOutput, AddResidual{sums, states, hidden});
  for (int row = 0; row < rows; row++) {
    normalize(sums + row * hidden, hidden, layer.attentionNorm, model.epsilon, states + row * hidden);
    roundRow(states + row * hidden, hidden, layer.attended, codes + row * hidden);
  }
  const Rounding& rounding = layer.widened;
  Isa::multiply(codes, hidden, rows, layer.intermediate,
                Widen{widened, rounding.multipliers, _mm512_set1_epi32(rounding.zeroPoint), wide});
  Isa::multiply(widened, wide, rows, layer.output, AddResidual{sums, states, hidden});
  for (int row = 0; row < rows; row++) {
    normalize(sums + row * hidden, hidden, layer.outputNorm, model.epsilon, states + row * hidden);
    if (next) roundRow(states + row * hidden, hidden, *next, codes + row * hidden);
  }
}

inline void reserve(const Model& model, const Batch& batch, size_t projectedBytes, Scratch& scratch) {
  // Blocks of queries and of keys reach up to BLOCK rows beyond a text.
  const size_t rows = roundUp(batch.tokens, ROWS) + BLOCK;
  scratch.hidden.reserve(rows * model.hidden);
  scratch.codes.reserve(rows * model.hidden);
  scratch.projected.reserve(rows * 3 * model.hidden * projectedBytes);
  scratch.sums.reserve(static_cast<size_t>(ROWS) * model.hidden);
  scratch.widened.reserve(static_cast<size_t>(ROWS) * model.layers[0].output.inputs);
}

inline void copyRows(const Batch& batch, const float* rows, int width, float* out) {
  for (int text = 0; text < batch.texts; text++) {
    const size_t count = static_cast<size_t>(batch.lengths[text]) * width;
    __builtin_memcpy(out + static_cast<size_t>(text) * batch.rowTokens * width, rows, count * sizeof(float));
    rows += count;
  }
}

template <class Isa>
void forward(const Model& model, const Batch& batch, Scratch& scratch) {
  using Projected = typename Isa::Projected;
  const typename Isa::Session session;
  const int hidden = model.hidden;
  reserve(model, batch, sizeof(Projected), scratch);
  float* states = scratch.hidden.get();
  uint8_t* codes = scratch.codes.get();
  auto* projected = reinterpret_cast<Projected*>(scratch.projected.get());

  for (int text = 0, at = 0; text < batch.texts; text++) {
    for (int place = 0; place < batch.lengths[text]; place++, at++) {
      embed(model, batch.ids[at], place, states + at * hidden, codes + at * hidden);
    }
  }
  for (int number = 0; number < batch.layers; number++) {
    const Layer& layer = model.layers[number];
    const bool last = number == batch.layers - 1;
    for (int first = 0; first < batch.tokens; first += ROWS) {
      const int rows = batch.tokens - first < ROWS ? batch.tokens - first : ROWS;
      Isa::multiply(codes + first * hidden, hidden, rows, layer.projection,
                    typename Isa::StoreProjected{projected + static_cast<size_t>(first) * 3 * hidden, 3 * hidden});
    }
    for (int text = 0, at = 0; text < batch.texts; at += batch.lengths[text++]) {
      float* received = last && batch.receivedAttention
                            ? batch.receivedAttention + static_cast<size_t>(text) * batch.rowTokens
                            : nullptr;
      Isa::attend(model, layer, projected + static_cast<size_t>(at) * 3 * hidden, batch.lengths[text],
                  codes + at * hidden, received, scratch);
    }
    const Rounding* next = last ? nullptr : &model.layers[number + 1].hidden;
    for (int first = 0; first < batch.tokens; first += ROWS) {
      const int rows = batch.tokens - first < ROWS ? batch.tokens - first : ROWS;
      feedForward<Isa>(model, layer, next, first, rows, scratch);
    }
  }
  if (batch.hiddenStates) copyRows(batch, states, hidden, batch.hiddenStates);
}

}  // namespace
}  // namespace anchorage
