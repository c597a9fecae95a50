// BERT's layers forward and backward on one core with AMX, over texts packed one behind another, without padding.
//
// A layer, of x [tokens, D]:   a = attention(x Wqkv + bqkv) Wo + bo,   h = LN1(x + a),   y = LN2(h + gelu(h W1 + b1) W2 + b2)
//
// Matrix products take bfloat16 and add up in float32; what lies between them (softmax, GELU, layer norms) is float32 in registers. Of a layer
// nothing is kept but what its backward pass cannot make again cheaply. Rows go through a layer 32 at a time, the two tiles that AMX adds up side
// by side, so that a block's numbers stay in the core's own cache.
//
// Tiles: a tile of the left side is 16 rows x 32 bfloat16 as they lie in memory. One of the right side, B [K, N], is "paired": 16 rows of 16
// pairs (B[2r, n], B[2r + 1, n]). A matrix that is multiplied often is kept in such tiles, all of K for 16 columns, then the next 16.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace {

using bf16 = uint16_t;
constexpr long ROWS = 32, TILE = 512;  // rows of a block; numbers of a tile
constexpr float LAYER_NORM_EPSILON = 1e-12f;

struct Shape {
  long layers, dimensions, inner, heads;
};

long up(long value, long step) { return (value + step - 1) / step * step; }

// ---- registers

__m512 wide(const bf16* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
}

void narrow(bf16* to, __m512 values) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values))); }

// e^x to 3e-6 of its value: 2^n times a polynomial over half an octave.
__m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.f)), _mm512_set1_ps(-87.f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.f / 120);
  for (float factor : {1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(factor));
  return _mm512_scalef_ps(p, n);
}

// The normal distribution's Phi(x) and density at x; erf after Abramowitz and Stegun, 7.1.26, to 1.5e-7.
struct Normal {
  __m512 below, density;
};

Normal normal(__m512 x) {
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  const __m512 d = _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1.f)), about = _mm512_rcp14_ps(d);
  const __m512 t = _mm512_mul_ps(about, _mm512_fnmadd_ps(about, d, _mm512_set1_ps(2.f)));  // 1 / d, by a step of Newton's
  const __m512 e = exponential(_mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-1.f)));
  __m512 p = _mm512_set1_ps(1.061405429f);
  for (float factor : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(factor));
  const __m512 above = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(p, t), e), _mm512_set1_ps(0.5f));  // 1 - Phi(|x|)
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return {_mm512_mask_mov_ps(_mm512_sub_ps(_mm512_set1_ps(1.f), above), negative, above), _mm512_mul_ps(e, _mm512_set1_ps(0.39894228f))};
}

// 16 x 16 numbers of 32 bits, turned over their diagonal.
void transpose(__m512i rows[16]) {
  __m512i a[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    a[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
    a[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
    a[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    rows[i] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd);
    rows[i + 4] = _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0x88);
    rows[i + 12] = _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0xdd);
  }
}

void store(bf16* tile, const __m512i rows[16]) {
  for (int r = 0; r < 16; r++) _mm512_storeu_si512(tile + 32 * r, rows[r]);
}

// ---- tiles

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

class Tiles {
 public:
  Tiles() {
    TileConfig config;
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
};

// Rows 2r and 2r + 1 of 16 columns, from `from` on, as pairs: a tile of the right side.
void pair(const bf16* from, long stride, __m512i rows[16], long count = 32) {
  for (int r = 0; r < 16; r++) {
    const __m512i first = 2 * r < count ? _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 2 * r * stride))) : _mm512_setzero_si512();
    const __m512i second = 2 * r + 1 < count ? _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + (2 * r + 1) * stride))) : _mm512_setzero_si512();
    rows[r] = _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
  }
}

// Tiles of the right side for the product of 16 rows' transpose, from 16 rows of 32 numbers: B[k, n] = from[n, k].
void pair_transposed(const bf16* from, long stride, bf16* tile) {
  __m512i rows[16];
  for (int r = 0; r < 16; r++) rows[r] = _mm512_loadu_si512(from + r * stride);
  transpose(rows);
  store(tile, rows);
}

// All of from [count, columns] (count in 32s) as tiles: of the right side, or of the left side of its transpose.
void pack(const bf16* from, long stride, long count, long columns, bool transposed, bf16* to) {
  for (long n = 0; n < columns; n += 16)
    for (long k = 0; k < count; k += 32, to += TILE) {
      __m512i rows[16];
      pair(from + k * stride + n, stride, rows);
      if (transposed) transpose(rows);
      store(to, rows);
    }
}

// sums [32, N] = left [32, K] right
void product(const bf16* left, long stride, long K, const bf16* right, long N, float* sums) {
  const long steps = K / 32;
  for (long n = 0; n < N; n += 32) {
    const bf16 *first = right + n / 16 * steps * TILE, *second = first + steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long k = 0; k < steps; k++) {
      _tile_loadd(4, left + 32 * k, 2 * stride);
      _tile_loadd(6, first + TILE * k, 64);
      _tile_loadd(7, second + TILE * k, 64);
      _tile_loadd(5, left + 16 * stride + 32 * k, 2 * stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums + n, 4 * N);
    _tile_stored(1, sums + n + 16, 4 * N);
    _tile_stored(2, sums + 16 * N + n, 4 * N);
    _tile_stored(3, sums + 16 * N + n + 16, 4 * N);
  }
}

// gradient [N, K] += left [T, N]' right [T, K]; the two scratches hold T x N and T x K numbers.
void add_outer(const bf16* left, long N, const bf16* right, long K, long T, float* gradient, bf16* left_tiles, bf16* right_tiles) {
  pack(left, N, T, N, true, left_tiles);
  pack(right, K, T, K, false, right_tiles);
  const long steps = T / 32;
  for (long n = 0; n < N; n += 32)
    for (long k = 0; k < K; k += 32) {
      float* to = gradient + n * K + k;
      const bf16 *a = left_tiles + n / 16 * steps * TILE, *c = a + steps * TILE, *b = right_tiles + k / 16 * steps * TILE, *d = b + steps * TILE;
      _tile_loadd(0, to, 4 * K);
      _tile_loadd(1, to + 16, 4 * K);
      _tile_loadd(2, to + 16 * K, 4 * K);
      _tile_loadd(3, to + 16 * K + 16, 4 * K);
      for (long t = 0; t < steps; t++) {
        _tile_loadd(4, a + TILE * t, 64);
        _tile_loadd(6, b + TILE * t, 64);
        _tile_loadd(7, d + TILE * t, 64);
        _tile_loadd(5, c + TILE * t, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, to, 4 * K);
      _tile_stored(1, to + 16, 4 * K);
      _tile_stored(2, to + 16 * K, 4 * K);
      _tile_stored(3, to + 16 * K + 16, 4 * K);
    }
}

void add_columns(const bf16* from, long T, long N, float* sums) {
  for (long n = 0; n < N; n += 16) {
    __m512 sum = _mm512_loadu_ps(sums + n);
    for (long t = 0; t < T; t++) sum = _mm512_add_ps(sum, wide(from + t * N + n));
    _mm512_storeu_ps(sums + n, sum);
  }
}

// ---- what lies between products, of 32 rows

void add_bias(const float* sums, const float* bias, long N, bf16* to) {
  for (long row = 0; row < ROWS; row++)
    for (long n = 0; n < N; n += 16) narrow(to + row * N + n, _mm512_add_ps(_mm512_loadu_ps(sums + row * N + n), _mm512_loadu_ps(bias + n)));
}

// inner = sums + bias, activated = gelu(inner)
void gelu(const float* sums, const float* bias, long N, bf16* inner, bf16* activated) {
  for (long row = 0; row < ROWS; row++)
    for (long n = 0; n < N; n += 16) {
      const __m512 x = _mm512_add_ps(_mm512_loadu_ps(sums + row * N + n), _mm512_loadu_ps(bias + n));
      narrow(inner + row * N + n, x);
      narrow(activated + row * N + n, _mm512_mul_ps(x, normal(x).below));
    }
}

// From inner and the gradient of gelu(inner): that of inner, and gelu(inner) again.
void gelu_backward(const float* gradient, long N, const bf16* inner, bf16* inner_gradient, bf16* activated) {
  for (long i = 0; i < ROWS * N; i += 16) {
    const __m512 x = wide(inner + i);
    const Normal at = normal(x);
    narrow(activated + i, _mm512_mul_ps(x, at.below));
    narrow(inner_gradient + i, _mm512_mul_ps(_mm512_loadu_ps(gradient + i), _mm512_fmadd_ps(x, at.density, at.below)));
  }
}

// to = LN(sums + bias + residual); normalized is it before its scale and shift, and spread 1 / deviation, a row.
void layer_norm(float* sums, const float* bias, const bf16* residual, const float* scale, const float* shift, long N, bf16* to, bf16* normalized, float* spread) {
  for (long row = 0; row < ROWS; row++) {
    float* own = sums + row * N;
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (long n = 0; n < N; n += 16) {
      const __m512 x = _mm512_add_ps(_mm512_add_ps(_mm512_loadu_ps(own + n), _mm512_loadu_ps(bias + n)), wide(residual + row * N + n));
      _mm512_storeu_ps(own + n, x);
      total = _mm512_add_ps(total, x);
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / N);
    for (long n = 0; n < N; n += 16) {
      const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(own + n), mean);
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    spread[row] = 1 / std::sqrt(_mm512_reduce_add_ps(squares) / N + LAYER_NORM_EPSILON);
    const __m512 factor = _mm512_set1_ps(spread[row]);
    for (long n = 0; n < N; n += 16) {
      const __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(own + n), mean), factor);
      narrow(normalized + row * N + n, x);
      narrow(to + row * N + n, _mm512_fmadd_ps(x, _mm512_loadu_ps(scale + n), _mm512_loadu_ps(shift + n)));
    }
  }
}

// The gradient of LN's input from that of its output, in place; and a copy for products.
void layer_norm_backward(float* gradient, const bf16* normalized, const float* spread, const float* scale, long N, float* scale_gradient, float* shift_gradient, bf16* copy) {
  for (long row = 0; row < ROWS; row++) {
    float* own = gradient + row * N;
    const bf16* x = normalized + row * N;
    __m512 total = _mm512_setzero_ps(), along = _mm512_setzero_ps();
    for (long n = 0; n < N; n += 16) {
      const __m512 g = _mm512_loadu_ps(own + n), at = wide(x + n), scaled = _mm512_mul_ps(g, _mm512_loadu_ps(scale + n));
      _mm512_storeu_ps(scale_gradient + n, _mm512_fmadd_ps(g, at, _mm512_loadu_ps(scale_gradient + n)));
      _mm512_storeu_ps(shift_gradient + n, _mm512_add_ps(g, _mm512_loadu_ps(shift_gradient + n)));
      total = _mm512_add_ps(total, scaled);
      along = _mm512_fmadd_ps(scaled, at, along);
      _mm512_storeu_ps(own + n, scaled);
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / N), slope = _mm512_set1_ps(_mm512_reduce_add_ps(along) / N), factor = _mm512_set1_ps(spread[row]);
    for (long n = 0; n < N; n += 16) {
      const __m512 g = _mm512_mul_ps(_mm512_sub_ps(_mm512_fnmadd_ps(wide(x + n), slope, _mm512_loadu_ps(own + n)), mean), factor);
      _mm512_storeu_ps(own + n, g);
      narrow(copy + row * N + n, g);
    }
  }
}

void add_rows(float* to, const float* from, long N) {
  for (long i = 0; i < ROWS * N; i += 16) _mm512_storeu_ps(to + i, _mm512_add_ps(_mm512_loadu_ps(to + i), _mm512_loadu_ps(from + i)));
}

// ---- attention, of one text and head

struct Scratch {  // of a text's length L, up to 32s
  bf16 *keys, *values, *values_across, *keys_along, *probabilities, *scores_gradient, *turned;
  float *scores, *second, *sums;
};

// scores [16, L] of 16 rows with all that `right` has tiles of, L / 16 times size / 32
void scores_of(const bf16* rows, long stride, long size, const bf16* right, long L, float* scores) {
  for (long j = 0; j < L; j += 16) {
    _tile_zero(0);
    for (long k = 0; k < size; k += 32) {
      _tile_loadd(4, rows + k, 2 * stride);
      _tile_loadd(6, right + (j / 16 * (size / 32) + k / 32) * TILE, 64);
      _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, scores + j, 4 * L);
  }
}

// sums [16, size] = rows [16, L] right
void weighed(const bf16* rows, long L, const bf16* right, long size, float* sums) {
  for (long d = 0; d < size; d += 16) {
    _tile_zero(0);
    for (long j = 0; j < L; j += 32) {
      _tile_loadd(4, rows + j, 2 * L);
      _tile_loadd(6, right + (d / 16 * (L / 32) + j / 32) * TILE, 64);
      _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, sums + d, 4 * size);
  }
}

void pack_across(const bf16* from, long stride, long size, long L, bf16* to) {
  for (long j = 0; j < L; j += 16)
    for (long k = 0; k < size; k += 32, to += TILE) pair_transposed(from + j * stride + k, stride, to);
}

void pack_along(const bf16* from, long stride, long size, long count, long L, bf16* to) {
  for (long d = 0; d < size; d += 16)
    for (long j = 0; j < L; j += 32, to += TILE) {
      __m512i rows[16];
      pair(from + j * stride + d, stride, rows, count - j);
      store(to, rows);
    }
}

__mmask16 upto(long left) { return left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }

void attend(const bf16* qkv, long D, long size, long count, float* lengths, bf16* context, float* received, const Scratch& at) {
  const long L = up(count, 32), stride = 3 * D;
  const float factor = 1 / std::sqrt(static_cast<float>(size));
  pack_across(qkv + D, stride, size, L, at.keys);
  pack_along(qkv + 2 * D, stride, size, count, L, at.values);
  for (long i = 0; i < count; i += 16) {
    scores_of(qkv + i * stride, stride, size, at.keys, L, at.scores);
    for (long row = 0; row < std::min(16L, count - i); row++) {
      float* own = at.scores + row * L;
      __m512 largest = _mm512_set1_ps(-1e30f), total = _mm512_setzero_ps();
      for (long j = 0; j < count; j += 16) largest = _mm512_mask_max_ps(largest, upto(count - j), largest, _mm512_loadu_ps(own + j));
      const float most = _mm512_reduce_max_ps(largest) * factor;
      for (long j = 0; j < L; j += 16) {
        const __m512 e = _mm512_maskz_mov_ps(upto(count - j), exponential(_mm512_fmsub_ps(_mm512_loadu_ps(own + j), _mm512_set1_ps(factor), _mm512_set1_ps(most))));
        _mm512_storeu_ps(own + j, e);
        total = _mm512_add_ps(total, e);
      }
      const float sum = _mm512_reduce_add_ps(total);
      lengths[i + row] = most + std::log(sum);
      for (long j = 0; j < L; j += 16) {
        const __m512 p = _mm512_mul_ps(_mm512_loadu_ps(own + j), _mm512_set1_ps(1 / sum));
        narrow(at.probabilities + row * L + j, p);
        if (received) _mm512_mask_storeu_ps(received + j, upto(count - j), _mm512_add_ps(_mm512_maskz_loadu_ps(upto(count - j), received + j), p));
      }
    }
    weighed(at.probabilities, L, at.values, size, at.sums);
    for (long row = 0; row < std::min(16L, count - i); row++)
      for (long d = 0; d < size; d += 16) narrow(context + (i + row) * D + d, _mm512_loadu_ps(at.sums + row * size + d));
  }
}

// to [count, size] = left' right, of left [L, L] and right [L, size]. Rows of `right` beyond `count` meet zeros of left's; they are finite.
void gather(const bf16* left, const bf16* right, long stride, long size, long count, long L, bf16* to, long to_stride, const Scratch& at) {
  bf16* tiles = at.keys_along;  // as large as [L, L], and read no more
  pack(left, L, L, L, false, tiles);
  pack(right, stride, L, size, true, at.turned);
  for (long j = 0; j < count; j += 16)
    for (long d = 0; d < size; d += 16) {
      _tile_zero(0);
      for (long i = 0; i < L; i += 32) {
        _tile_loadd(4, at.turned + (d / 16 * (L / 32) + i / 32) * TILE, 64);
        _tile_loadd(6, tiles + (j / 16 * (L / 32) + i / 32) * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
      }
      _tile_stored(0, at.sums, 64);
      __m512i rows[16];
      for (int r = 0; r < 16; r++) rows[r] = _mm512_loadu_si512(at.sums + 16 * r);
      transpose(rows);
      for (long row = 0; row < std::min(16L, count - j); row++) narrow(to + (j + row) * to_stride + d, _mm512_castsi512_ps(rows[row]));
    }
}

// The gradients of qkv from that of the context [count, D], and of what each token received.
void attend_backward(const bf16* qkv, long D, long size, long count, const float* lengths, const bf16* context_gradient, const float* received_gradient,
                     bf16* qkv_gradient, const Scratch& at) {
  const long L = up(count, 32), stride = 3 * D;
  const float factor = 1 / std::sqrt(static_cast<float>(size));
  pack_across(qkv + D, stride, size, L, at.keys);
  pack_across(qkv + 2 * D, stride, size, L, at.values_across);
  pack_along(qkv + D, stride, size, count, L, at.keys_along);
  std::memset(at.scores_gradient, 0, sizeof(bf16) * L * L);
  bf16 *probabilities = at.probabilities, *gradient = at.scores_gradient;
  std::memset(probabilities, 0, sizeof(bf16) * L * L);
  for (long i = 0; i < count; i += 16) {
    scores_of(qkv + i * stride, stride, size, at.keys, L, at.scores);
    scores_of(context_gradient + i * D, D, size, at.values_across, L, at.second);
    for (long row = 0; row < std::min(16L, count - i); row++) {
      float *own = at.scores + row * L, *slope = at.second + row * L;
      __m512 along = _mm512_setzero_ps();
      for (long j = 0; j < L; j += 16) {
        const __mmask16 real = upto(count - j);
        const __m512 p = _mm512_maskz_mov_ps(real, exponential(_mm512_fmsub_ps(_mm512_loadu_ps(own + j), _mm512_set1_ps(factor), _mm512_set1_ps(lengths[i + row]))));
        __m512 g = _mm512_maskz_loadu_ps(real, slope + j);
        if (received_gradient) g = _mm512_add_ps(g, _mm512_maskz_loadu_ps(real, received_gradient + j));
        along = _mm512_fmadd_ps(p, g, along);
        _mm512_storeu_ps(own + j, p);
        _mm512_storeu_ps(slope + j, g);
        narrow(probabilities + (i + row) * L + j, p);
      }
      const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(along));
      for (long j = 0; j < L; j += 16)
        narrow(gradient + (i + row) * L + j, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(own + j), _mm512_sub_ps(_mm512_loadu_ps(slope + j), mean)), _mm512_set1_ps(factor)));
    }
    weighed(gradient + i * L, L, at.keys_along, size, at.sums);
    for (long row = 0; row < std::min(16L, count - i); row++)
      for (long d = 0; d < size; d += 16) narrow(qkv_gradient + (i + row) * stride + d, _mm512_loadu_ps(at.sums + row * size + d));
  }
  gather(gradient, qkv, stride, size, count, L, qkv_gradient + D, stride, at);
  gather(probabilities, context_gradient, D, size, count, L, qkv_gradient + 2 * D, stride, at);
}

// ---- layers

// A layer's numbers in float32, one behind another: weights as PyTorch has them, [to, from].
struct Weights {
  float *qkv, *qkv_bias, *out, *out_bias, *scale1, *shift1, *up, *up_bias, *down, *down_bias, *scale2, *shift2;

  Weights(float* at, long D, long F) {
    auto next = [&at](long count) { return std::exchange(at, at + count); };
    qkv = next(3 * D * D), qkv_bias = next(3 * D), out = next(D * D), out_bias = next(D), scale1 = next(D), shift1 = next(D);
    up = next(F * D), up_bias = next(F), down = next(D * F), down_bias = next(D), scale2 = next(D), shift2 = next(D);
  }
  static long size(long D, long F) { return 4 * D * D + 2 * D * F + 9 * D + F; }
};

// The same weights as tiles: W' for the way forward, W for the way back.
struct Packed {
  bf16 *qkv, *out, *up, *down, *qkv_back, *out_back, *up_back, *down_back;

  Packed(bf16* at, long D, long F) {
    auto next = [&at](long count) { return std::exchange(at, at + count); };
    qkv = next(3 * D * D), out = next(D * D), up = next(F * D), down = next(D * F);
    qkv_back = next(3 * D * D), out_back = next(D * D), up_back = next(F * D), down_back = next(D * F);
  }
  static long size(long D, long F) { return 2 * (4 * D * D + 2 * D * F); }
};

// What a layer's way forward leaves for its way back.
struct Kept {
  bf16 *qkv, *context, *normalized1, *between, *inner, *normalized2;
  float *lengths, *spread1, *spread2;
};

// Memory of one thread, for up to `tokens` (in 32s) of texts of up to `longest`. Zero at first, so that what is read beyond a text's end is finite.
struct Arena {
  std::vector<Kept> kept;
  Scratch scratch;
  bf16 *activated, *left_tiles, *right_tiles, *gradient1, *gradient2, *inner_gradient, *context_gradient, *qkv_gradient;
  float *sums, *gradient;
  char* memory;
  long tokens, size = 0;

  Arena(const Shape& s, long tokens, long longest, bool backward) : kept(backward ? s.layers : 1), tokens(tokens) {
    for (memory = nullptr;; memory = static_cast<char*>(std::aligned_alloc(64, size))) {
      if (memory) std::memset(memory, 0, size);
      size = 0;
      place(s, longest, backward);
      if (memory) break;
    }
  }
  ~Arena() { std::free(memory); }
  Arena(const Arena&) = delete;

 private:
  template <typename T>
  void take(T*& to, long count) {
    to = reinterpret_cast<T*>(memory + size);
    size += up(count * sizeof(T), 64);
  }
  void place(const Shape& s, long longest, bool backward) {
    const long D = s.dimensions, F = s.inner, L = up(longest, 32), spare = tokens + L;  // attention reads up to 32s
    for (Kept& own : kept) {
      take(own.qkv, spare * 3 * D), take(own.context, tokens * D), take(own.normalized1, tokens * D), take(own.between, tokens * D);
      take(own.inner, tokens * F), take(own.normalized2, tokens * D), take(own.lengths, tokens * s.heads), take(own.spread1, tokens), take(own.spread2, tokens);
    }
    take(sums, ROWS * std::max(F, 3 * D)), take(activated, backward ? tokens * F : ROWS * F);
    const long size = D / s.heads;
    take(scratch.keys, L * size), take(scratch.values, L * size), take(scratch.values_across, L * size), take(scratch.turned, L * size);
    take(scratch.keys_along, L * std::max(L, size)), take(scratch.probabilities, L * L), take(scratch.scores_gradient, L * L);
    take(scratch.scores, 16 * L), take(scratch.second, 16 * L), take(scratch.sums, 16 * std::max(16L, size));
    if (!backward) return;
    const long most = tokens * std::max(F, 3 * D);
    take(left_tiles, most), take(right_tiles, most), take(gradient, tokens * D), take(gradient1, tokens * D), take(gradient2, tokens * D);
    take(inner_gradient, tokens * F), take(context_gradient, spare * D), take(qkv_gradient, tokens * 3 * D);
  }
};

void forward(const Shape& s, const Weights& w, const Packed& p, const bf16* x, bf16* y, const int32_t* starts, long texts, long T, float* received, const Kept& keep, Arena& at) {
  const long D = s.dimensions, F = s.inner, size = D / s.heads;
  for (long t = 0; t < T; t += ROWS) {
    product(x + t * D, D, D, p.qkv, 3 * D, at.sums);
    add_bias(at.sums, w.qkv_bias, 3 * D, keep.qkv + t * 3 * D);
  }
  for (long i = 0; i < texts; i++)
    for (long head = 0; head < s.heads; head++)
      attend(keep.qkv + starts[i] * 3 * D + head * size, D, size, starts[i + 1] - starts[i], keep.lengths + head * at.tokens + starts[i],
             keep.context + starts[i] * D + head * size, received ? received + head * T + starts[i] : nullptr, at.scratch);
  for (long t = 0; t < T; t += ROWS) {
    bf16* between = keep.between + t * D;
    product(keep.context + t * D, D, D, p.out, D, at.sums);
    layer_norm(at.sums, w.out_bias, x + t * D, w.scale1, w.shift1, D, between, keep.normalized1 + t * D, keep.spread1 + t);
    product(between, D, D, p.up, F, at.sums);
    gelu(at.sums, w.up_bias, F, keep.inner + t * F, at.activated);
    product(at.activated, F, F, p.down, D, at.sums);
    layer_norm(at.sums, w.down_bias, between, w.scale2, w.shift2, D, y + t * D, keep.normalized2 + t * D, keep.spread2 + t);
  }
}

// at.gradient [T, D]: from that of y to that of x, where that is `asked`. Adds to `g`, the gradients of the weights.
void backward(const Shape& s, const Weights& w, const Packed& p, const bf16* x, const int32_t* starts, long texts, long T, const float* received_gradient, const Kept& kept,
              const Weights& g, bool asked, Arena& at) {
  const long D = s.dimensions, F = s.inner, size = D / s.heads;
  for (long t = 0; t < T; t += ROWS) {
    float* own = at.gradient + t * D;
    layer_norm_backward(own, kept.normalized2 + t * D, kept.spread2 + t, w.scale2, D, g.scale2, g.shift2, at.gradient2 + t * D);
    product(at.gradient2 + t * D, D, D, p.down_back, F, at.sums);
    gelu_backward(at.sums, F, kept.inner + t * F, at.inner_gradient + t * F, at.activated + t * F);
    product(at.inner_gradient + t * F, F, F, p.up_back, D, at.sums);
    add_rows(own, at.sums, D);
    layer_norm_backward(own, kept.normalized1 + t * D, kept.spread1 + t, w.scale1, D, g.scale1, g.shift1, at.gradient1 + t * D);
    product(at.gradient1 + t * D, D, D, p.out_back, D, at.sums);
    for (long i = 0; i < ROWS * D; i += 16) narrow(at.context_gradient + t * D + i, _mm512_loadu_ps(at.sums + i));
  }
  for (long i = 0; i < texts; i++)
    for (long head = 0; head < s.heads; head++)
      attend_backward(kept.qkv + starts[i] * 3 * D + head * size, D, size, starts[i + 1] - starts[i], kept.lengths + head * at.tokens + starts[i],
                      at.context_gradient + starts[i] * D + head * size, received_gradient ? received_gradient + head * T + starts[i] : nullptr,
                      at.qkv_gradient + starts[i] * 3 * D + head * size, at.scratch);
  std::memset(at.qkv_gradient + starts[texts] * 3 * D, 0, sizeof(bf16) * (T - starts[texts]) * 3 * D);
  for (long t = 0; asked && t < T; t += ROWS) {
    product(at.qkv_gradient + t * 3 * D, 3 * D, 3 * D, p.qkv_back, D, at.sums);
    add_rows(at.gradient + t * D, at.sums, D);
  }
  add_outer(at.qkv_gradient, 3 * D, x, D, T, g.qkv, at.left_tiles, at.right_tiles);
  add_outer(at.gradient1, D, kept.context, D, T, g.out, at.left_tiles, at.right_tiles);
  add_outer(at.inner_gradient, F, kept.between, D, T, g.up, at.left_tiles, at.right_tiles);
  add_outer(at.gradient2, D, at.activated, F, T, g.down, at.left_tiles, at.right_tiles);
  add_columns(at.qkv_gradient, T, 3 * D, g.qkv_bias);
  add_columns(at.gradient1, T, D, g.out_bias);
  add_columns(at.inner_gradient, T, F, g.up_bias);
  add_columns(at.gradient2, T, D, g.down_bias);
}
}  // namespace

extern "C" {

// 0 where this processor has what is needed and the kernel lets this process use it.
int bert_prepare() {
  constexpr long ASK_FOR_STATE = 0x1023, TILE_DATA = 18;
  if (!(__builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw"))) return 1;
  return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) ? 2 : 0;
}

long bert_layer_packed(long D, long F) { return Packed::size(D, F); }
void* bert_arena(const Shape* s, long tokens, long longest, int backward) { return new Arena(*s, tokens, longest, backward); }
void bert_free(void* arena) { delete static_cast<Arena*>(arena); }

// Weights of all layers as tiles.
void bert_pack(const Shape* s, float* weights, bf16* packed) {
  const long D = s->dimensions, F = s->inner;
  std::vector<bf16> narrowed(std::max(3 * D * D, D * F));
  auto one = [&narrowed](const float* from, long to_count, long from_count, bf16* ahead, bf16* back) {
    for (long i = 0; i < to_count * from_count; i += 16) narrow(narrowed.data() + i, _mm512_loadu_ps(from + i));
    for (long n = 0; n < to_count; n += 16)
      for (long k = 0; k < from_count; k += 32, ahead += TILE) pair_transposed(narrowed.data() + n * from_count + k, from_count, ahead);
    pack(narrowed.data(), from_count, to_count, from_count, false, back);
  };
  for (long layer = 0; layer < s->layers; layer++) {
    const Weights w(weights + layer * Weights::size(D, F), D, F);
    const Packed p(packed + layer * Packed::size(D, F), D, F);
    one(w.qkv, 3 * D, D, p.qkv, p.qkv_back);
    one(w.out, D, D, p.out, p.out_back);
    one(w.up, F, D, p.up, p.up_back);
    one(w.down, D, F, p.down, p.down_back);
  }
}

// states [layers + 1, T, D], of which the first is given; T in 32s, texts at starts[i]..starts[i + 1] of it. received [heads, T] (or null) is zero
// before, and then what each token received in the last layer.
void bert_forward(const Shape* s, float* weights, bf16* packed, bf16* states, const int32_t* starts, long texts, long T, float* received, void* arena) {
  Tiles tiles;
  Arena& at = *static_cast<Arena*>(arena);
  const long D = s->dimensions, F = s->inner;
  for (long layer = 0; layer < s->layers; layer++)
    forward(*s, Weights(weights + layer * Weights::size(D, F), D, F), Packed(packed + layer * Packed::size(D, F), D, F), states + layer * T * D, states + (layer + 1) * T * D,
            starts, texts, T, layer + 1 == s->layers ? received : nullptr, at.kept[layer % at.kept.size()], at);
}

// After bert_forward with the same arena: adds to `gradients`, laid out as the weights. state_gradients [layers + 1, T, D] are those of the states.
void bert_backward(const Shape* s, float* weights, bf16* packed, const bf16* states, const int32_t* starts, long texts, long T, const float* state_gradients,
                   const float* received_gradient, float* gradients, void* arena) {
  Tiles tiles;
  Arena& at = *static_cast<Arena*>(arena);
  const long D = s->dimensions, F = s->inner;
  std::memset(at.gradient, 0, sizeof(float) * T * D);
  for (long layer = s->layers; layer--;) {
    for (long t = 0; t < T; t += ROWS) add_rows(at.gradient + t * D, state_gradients + ((layer + 1) * T + t) * D, D);
    backward(*s, Weights(weights + layer * Weights::size(D, F), D, F), Packed(packed + layer * Packed::size(D, F), D, F), states + layer * T * D, starts, texts, T,
             layer + 1 == s->layers ? received_gradient : nullptr, at.kept[layer], Weights(gradients + layer * Weights::size(D, F), D, F), layer > 0, at);
  }
}
}
