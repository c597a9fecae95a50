// The forward pass for processors with AVX-512 VNNI: vpdpbusd for the products, float32 for attention.
#include <utility>

#include "forward.h"
#include "softmax.h"

namespace anchorage {
namespace {

// Tokens whose sums stay in registers: ROWS_AT_ONCE x 2 of them, and the others are few.
constexpr int ROWS_AT_ONCE = 8;
constexpr int QUERIES_AT_ONCE = 4;

inline __m512i broadcastFour(const uint8_t* codes) {
  int32_t four;
  __builtin_memcpy(&four, codes, 4);
  return _mm512_set1_epi32(four);
}

// Twice _mm512_dpbusd_epi32, whose intrinsic GCC 12 surrounds with moves.
inline void addProducts(__m512i& left, __m512i& right, __m512i codes, __m512i leftWeights, __m512i rightWeights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(left) : "v"(codes), "v"(leftWeights));
  __asm__("vpdpbusd %2, %1, %0" : "+v"(right) : "v"(codes), "v"(rightWeights));
}

inline __m512 broadcast(const float* value) { return _mm512_set1_ps(*value); }

struct Vnni {
  using Projected = float;
  struct Session {};

  struct StoreProjected {
    float* rows;
    int stride;
    void operator()(int row, int column, __m512 product) const {
      _mm512_storeu_ps(rows + row * stride + column, product);
    }
  };

  template <class Out>
  static void multiply(const uint8_t* codes, int stride, int rows, const Linear& linear, const Out& out) {
    for (int column = 0; column < linear.outputs; column += PANEL) {
      const int8_t* panel = linear.panels + static_cast<int64_t>(column) * linear.inputs;
      for (int row = 0; row < rows; row += ROWS_AT_ONCE) {
        multiplyBlock(codes + row * stride, stride, panel, linear, column, row, rows - row, out,
                      std::make_integer_sequence<int, ROWS_AT_ONCE>());
      }
    }
  }

  // Rows behind `rows` are computed and thrown away. Rows are counted by a parameter pack, because only what is
  // unrolled that early stays in registers.
  template <class Out, int... I>
  static void multiplyBlock(const uint8_t* codes, int stride, const int8_t* panel, const Linear& linear, int column,
                            int row, int rows, const Out& out, std::integer_sequence<int, I...>) {
    __m512i left[] = {(static_cast<void>(I), _mm512_setzero_si512())...};
    __m512i right[] = {(static_cast<void>(I), _mm512_setzero_si512())...};
    const uint8_t* rowCodes[] = {codes + I * stride...};
    for (int64_t input = 0; input < linear.inputs; input += STEP, panel += STEP * PANEL) {
      for (int64_t four = 0; four < STEP; four += 4) {
        const __m512i leftWeights = _mm512_load_si512(panel + four * LANES);
        const __m512i rightWeights = _mm512_load_si512(panel + STEP * LANES + four * LANES);
        (addProducts(left[I], right[I], broadcastFour(rowCodes[I] + input + four), leftWeights, rightWeights), ...);
      }
    }
    const int half = column + LANES;
    (handOver(left[I], row + I, column, I < rows, linear, out), ...);
    (handOver(right[I], row + I, half, I < rows, linear, out), ...);
  }

  template <class Out>
  static void handOver(__m512i sums, int row, int column, bool wanted, const Linear& linear, const Out& out) {
    const __m512 scale = _mm512_loadu_ps(linear.scales + column);
    const __m512 bias = _mm512_loadu_ps(linear.bias + column);
    if (wanted) out(row, column, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scale, bias));
  }

  static void attend(const Model& model, const Layer& layer, const float* projected, int tokens,
                     uint8_t* codes, float* received, Scratch& scratch) {
    const int size = model.hidden / model.heads;
    const int keys = roundUp(tokens, BLOCK);
    auto* columns = reinterpret_cast<float*>(scratch.keys.reserve(sizeof(float) * size * keys));
    float* scores = scratch.scores.reserve(static_cast<size_t>(QUERIES_AT_ONCE) * keys);
    if (received) __builtin_memset(received, 0, sizeof(float) * tokens);
    for (int head = 0; head < model.heads; head++) {
      const float* query = projected + head * size;
      transposeKeys(query + model.hidden, 3 * model.hidden, tokens, size, keys, columns);
      for (int first = 0; first < tokens; first += QUERIES_AT_ONCE) {
        const int rows = tokens - first < QUERIES_AT_ONCE ? tokens - first : QUERIES_AT_ONCE;
        score(query + first * 3 * model.hidden, 3 * model.hidden, columns, size, keys, scores);
        for (int row = 0; row < rows; row++) {
          softmax(scores + row * keys, tokens, model.headWeights ? model.headWeights[head] : 1.0f, received);
        }
        gather(scores, keys, query + 2 * model.hidden, 3 * model.hidden, tokens, size, rows, layer.context, head * size,
               codes + first * model.hidden, model.hidden);
      }
    }
  }

  // Keys [tokens, size] -> [size, keys].
  static void transposeKeys(const float* rows, int stride, int tokens, int size, int keys, float* columns) {
    for (int token = 0; token < tokens; token++) {
      for (int i = 0; i < size; i++) columns[i * keys + token] = rows[token * stride + i];
    }
  }

  // Queries x keys -> scores [QUERIES_AT_ONCE, keys]; a query's size is a multiple of 32, keys of BLOCK.
  static void score(const float* queries, int stride, const float* columns, int size, int keys, float* scores) {
    for (int key = 0; key < keys; key += BLOCK) {
      __m512 sums[QUERIES_AT_ONCE][2] = {};
      for (int i = 0; i < size; i++) {
        const __m512 left = _mm512_loadu_ps(columns + i * keys + key);
        const __m512 right = _mm512_loadu_ps(columns + i * keys + key + LANES);
#pragma GCC unroll 4
        for (int row = 0; row < QUERIES_AT_ONCE; row++) {
          const __m512 value = broadcast(queries + row * stride + i);
          sums[row][0] = _mm512_fmadd_ps(value, left, sums[row][0]);
          sums[row][1] = _mm512_fmadd_ps(value, right, sums[row][1]);
        }
      }
#pragma GCC unroll 4
      for (int row = 0; row < QUERIES_AT_ONCE; row++) {
        _mm512_storeu_ps(scores + row * keys + key, sums[row][0]);
        _mm512_storeu_ps(scores + row * keys + key + LANES, sums[row][1]);
      }
    }
  }

  // Scores -> probabilities, in place; adds them to `received` unless that is null.
  static void softmax(float* scores, int tokens, float headWeight, float* received) {
    const float total =
        exponentials(scores, tokens, [&](int key, __m512 value) { _mm512_storeu_ps(scores + key, value); });
    const __m512 inverse = _mm512_set1_ps(1.0f / total);
    for (int key = 0; key < tokens; key += LANES) {
      _mm512_storeu_ps(scores + key, _mm512_mul_ps(_mm512_loadu_ps(scores + key), inverse));
    }
    if (received) addReceived(scores, tokens, headWeight, received);
  }

  // Probabilities x values -> codes of the contexts.
  static void gather(const float* probabilities, int keys, const float* values, int stride, int tokens, int size,
                     int rows, const Rounding& rounding, int channel, uint8_t* codes, int codeStride) {
    const __m512i zeroPoint = _mm512_set1_epi32(rounding.zeroPoint);
    for (int i = 0; i < size; i += 2 * LANES) {
      __m512 sums[QUERIES_AT_ONCE][2] = {};
      for (int token = 0; token < tokens; token++) {
        const __m512 left = _mm512_loadu_ps(values + token * stride + i);
        const __m512 right = _mm512_loadu_ps(values + token * stride + i + LANES);
#pragma GCC unroll 4
        for (int row = 0; row < QUERIES_AT_ONCE; row++) {
          const __m512 weight = broadcast(probabilities + row * keys + token);
          sums[row][0] = _mm512_fmadd_ps(weight, left, sums[row][0]);
          sums[row][1] = _mm512_fmadd_ps(weight, right, sums[row][1]);
        }
      }
      for (int row = 0; row < rows; row++) {
        for (int half = 0; half < 2; half++) {
          const int at = channel + i + half * LANES;
          const __m128i rounded = codesOf(sums[row][half], _mm512_loadu_ps(rounding.multipliers + at), zeroPoint);
          _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + row * codeStride + at), rounded);
        }
      }
    }
  }
};

}  // namespace

void forwardVnni(const Model& model, const Batch& batch, Scratch& scratch) { forward<Vnni>(model, batch, scratch); }

}  // namespace anchorage
