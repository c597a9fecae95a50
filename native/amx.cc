// The forward pass for processors with AMX: tiles of 16 rows of 64 bytes, int8 for the products and bfloat16 for
// attention.
#include "forward.h"
#include "softmax.h"

namespace anchorage {
namespace {

// Sixteen rows of 64 bytes: a tile.
constexpr int TILE_ROWS = 16;
constexpr int TILE_BYTES = 1024;
constexpr int PAIR = 2 * LANES;  // bfloat16 values of a tile's row

struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t startRow = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Sums of a block of 32 tokens x 32 outputs that wait to be taken over, while the tiles work on the next block: a few
// rows after each of its steps, since a processor looks a few hundred instructions ahead and no further.
template <class Out>
class Pending {
 public:
  Pending(const Linear& linear, const Out& out) : linear_(linear), out_(out) {}

  void take(const int32_t* sums, int row, int rows, int column) {
    sums_ = sums;
    row_ = row;
    rows_ = rows;
    column_ = column;
  }

  // The rows of step `step` of `steps`.
  void handOver(int step, int steps) const {
    const int from = rows_ * step / steps;
    const int to = rows_ * (step + 1) / steps;
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      const int column = column_ + half * LANES;
      const __m512 scale = _mm512_loadu_ps(linear_.scales + column);
      const __m512 bias = _mm512_loadu_ps(linear_.bias + column);
      const int32_t* sums = sums_ + half * LANES;
      for (int i = from; i < to; i++) {
        out_(row_ + i, column, _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums + i * PANEL)), scale, bias));
      }
    }
  }

 private:
  const Linear& linear_;
  const Out& out_;
  const int32_t* sums_ = nullptr;
  int row_ = 0;
  int rows_ = 0;
  int column_ = 0;
};

struct Amx {
  using Projected = uint16_t;

  struct Session {
    Session() {
      const TileShapes shapes;
      _tile_loadconfig(&shapes);
    }
    ~Session() { _tile_release(); }
  };

  struct StoreProjected {
    uint16_t* rows;
    int stride;
    void operator()(int row, int column, __m512 product) const {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows + row * stride + column),
                          (__m256i)_mm512_cvtneps_pbh(product));
    }
  };

  template <class Out>
  static void multiply(const uint8_t* codes, int stride, int rows, const Linear& linear, const Out& out) {
    alignas(64) int32_t sums[2][BLOCK * PANEL];
    Pending<Out> pending(linear, out);
    int turn = 0;
    for (int column = 0; column < linear.outputs; column += PANEL) {
      const int8_t* panel = linear.panels + static_cast<int64_t>(column) * linear.inputs;
      for (int row = 0; row < rows; row += BLOCK) {
        const int count = rows - row < BLOCK ? rows - row : BLOCK;
        multiplyBlock(codes + row * stride, stride, panel, linear.inputs / STEP, count > TILE_ROWS, pending);
        storeBlock(sums[turn], count > TILE_ROWS);
        pending.take(sums[turn], row, count, column);
        turn ^= 1;
      }
    }
    pending.handOver(0, 1);
  }

  // Tiles 0 and 1: sums of the first 16 tokens; 2 and 3: of the other 16, where there are `both`.
  template <class Out>
  static void multiplyBlock(const uint8_t* codes, int stride, const int8_t* panel, int steps, bool both,
                            const Pending<Out>& pending) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < steps; step++, codes += STEP, panel += 2 * TILE_BYTES) {
      _tile_loadd(4, codes, stride);
      _tile_loadd(6, panel, STEP);
      _tile_dpbusd(0, 4, 6);
      _tile_loadd(7, panel + TILE_BYTES, STEP);
      _tile_dpbusd(1, 4, 7);
      if (both) {
        _tile_loadd(5, codes + TILE_ROWS * stride, stride);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
      }
      pending.handOver(step, steps);
    }
  }

  static void storeBlock(int32_t* sums, bool both) {
    _tile_stored(0, sums, PANEL * 4);
    _tile_stored(1, sums + LANES, PANEL * 4);
    if (!both) return;
    _tile_stored(2, sums + TILE_ROWS * PANEL, PANEL * 4);
    _tile_stored(3, sums + TILE_ROWS * PANEL + LANES, PANEL * 4);
  }

  static void attend(const Model& model, const Layer& layer, const uint16_t* projected, int tokens,
                     uint8_t* codes, float* received, Scratch& scratch) {
    const int size = model.hidden / model.heads;
    const int stride = 3 * model.hidden;
    const int keys = roundUp(tokens, BLOCK);
    auto* keyTiles = reinterpret_cast<uint32_t*>(scratch.keys.reserve(2ul * size * keys));
    auto* valueTiles = reinterpret_cast<uint16_t*>(scratch.values.reserve(2ul * size * keys));
    float* scores = scratch.scores.reserve(static_cast<size_t>(TILE_ROWS) * keys);
    auto* probabilities = reinterpret_cast<uint16_t*>(scratch.probabilities.reserve(2ul * TILE_ROWS * keys));
    if (received) __builtin_memset(received, 0, sizeof(float) * tokens);
    for (int head = 0; head < model.heads; head++) {
      const uint16_t* query = projected + head * size;
      arrangeKeys(query + model.hidden, stride, keys, size, keyTiles);
      arrangeValues(query + 2 * model.hidden, stride, keys, size, valueTiles);
      const float headWeight = model.headWeights ? model.headWeights[head] : 1.0f;
      for (int first = 0; first < tokens; first += TILE_ROWS) {
        const int rows = tokens - first < TILE_ROWS ? tokens - first : TILE_ROWS;
        float inverse[TILE_ROWS];
        score(query + first * stride, stride, keyTiles, size, keys, scores);
        for (int row = 0; row < rows; row++) {
          inverse[row] = softmax(scores + row * keys, tokens, keys, headWeight, received, probabilities + row * keys);
        }
        gather(probabilities, keys, valueTiles, size, rows, inverse, layer.context, head * size,
               codes + first * model.hidden, model.hidden);
      }
    }
  }

  // Keys [keys, size] -> tiles [keys / 16][size / 32][16 pairs of dimensions][16 keys][2].
  static void arrangeKeys(const uint16_t* rows, int stride, int keys, int size, uint32_t* tiles) {
    for (int key = 0; key < keys; key += LANES) {
      for (int i = 0; i < size; i += PAIR, tiles += LANES * LANES) transpose(rows + key * stride + i, stride, tiles);
    }
  }

  // 16 rows of 16 pairs -> 16 rows of as many columns.
  static void transpose(const uint16_t* rows, int stride, uint32_t* out) {
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows + i * stride);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
      a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
      a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
      a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
      b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
      b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
      b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      _mm512_storeu_si512(out + (i)*LANES, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
      _mm512_storeu_si512(out + (i + 4) * LANES, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0x88));
      _mm512_storeu_si512(out + (i + 8) * LANES, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
      _mm512_storeu_si512(out + (i + 12) * LANES, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0xdd));
    }
  }

  // Values [keys, size] -> tiles [keys / 32][size / 16][16 pairs of keys][16 dimensions][2].
  static void arrangeValues(const uint16_t* rows, int stride, int keys, int size, uint16_t* tiles) {
    alignas(64) static constexpr uint16_t LOW[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                     8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_load_si512(LOW);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int key = 0; key < keys; key += BLOCK, tiles += BLOCK * size) {
      for (int i = 0; i < size; i += PAIR) {
        uint16_t* tile = tiles + i * BLOCK;
        for (int pair = 0; pair < LANES; pair++) {
          const __m512i even = _mm512_loadu_si512(rows + (key + 2 * pair) * stride + i);
          const __m512i odd = _mm512_loadu_si512(rows + (key + 2 * pair + 1) * stride + i);
          _mm512_store_si512(tile + pair * PAIR, _mm512_permutex2var_epi16(even, low, odd));
          _mm512_store_si512(tile + LANES * PAIR + pair * PAIR, _mm512_permutex2var_epi16(even, high, odd));
        }
      }
    }
  }

  // 16 queries x keys -> scores [16, keys].
  static void score(const uint16_t* queries, int stride, const uint32_t* keyTiles, int size, int keys, float* scores) {
    const int tile = LANES * LANES;
    const int perKeys = size / PAIR * tile;
    for (int key = 0; key < keys; key += BLOCK, keyTiles += 2 * perKeys) {
      _tile_zero(0);
      _tile_zero(1);
      for (int i = 0; i < size / PAIR; i++) {
        _tile_loadd(4, queries + i * PAIR, stride * 2);
        _tile_loadd(6, keyTiles + i * tile, 64);
        _tile_loadd(7, keyTiles + perKeys + i * tile, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
      }
      _tile_stored(0, scores + key, keys * 4);
      _tile_stored(1, scores + key + LANES, keys * 4);
    }
  }

  // Exponentials of a query's scores as bfloat16 [keys], 0 behind `tokens`; returns what they are to be multiplied with
  // to be probabilities. Adds those to `received` unless that is null.
  static float softmax(float* scores, int tokens, int keys, float headWeight, float* received, uint16_t* out) {
    const float total = exponentials(scores, tokens, [&](int key, __m512 power) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + key), (__m256i)_mm512_cvtneps_pbh(power));
      if (received) _mm512_storeu_ps(scores + key, power);
    });
    const int written = roundUp(tokens, LANES);
    if (written < keys) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + written), _mm256_setzero_si256());
    const float inverse = 1.0f / total;
    if (received) addReceived(scores, tokens, headWeight * inverse, received);
    return inverse;
  }

  // Exponentials x values, times `inverse` -> codes of the contexts.
  static void gather(const uint16_t* powers, int keys, const uint16_t* valueTiles, int size, int rows,
                     const float* inverse, const Rounding& rounding, int channel, uint8_t* codes, int codeStride) {
    alignas(64) float sums[TILE_ROWS * PAIR];
    const __m512i zeroPoint = _mm512_set1_epi32(rounding.zeroPoint);
    for (int i = 0; i < size; i += PAIR) {
      _tile_zero(0);
      _tile_zero(1);
      for (int key = 0; key < keys; key += BLOCK) {
        const uint16_t* tile = valueTiles + key * size + i * BLOCK;
        _tile_loadd(4, powers + key, keys * 2);
        _tile_loadd(6, tile, 64);
        _tile_loadd(7, tile + LANES * PAIR, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
      }
      _tile_stored(0, sums, PAIR * 4);
      _tile_stored(1, sums + LANES, PAIR * 4);
      for (int row = 0; row < rows; row++) {
        const __m512 share = _mm512_set1_ps(inverse[row]);
        for (int half = 0; half < 2; half++) {
          const int at = channel + i + half * LANES;
          const __m512 context = _mm512_mul_ps(_mm512_load_ps(sums + row * PAIR + half * LANES), share);
          const __m128i rounded = codesOf(context, _mm512_loadu_ps(rounding.multipliers + at), zeroPoint);
          _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + row * codeStride + at), rounded);
        }
      }
    }
  }
};

}  // namespace

void forwardAmx(const Model& model, const Batch& batch, Scratch& scratch) { forward<Amx>(model, batch, scratch); }

}  // namespace anchorage
