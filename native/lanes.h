// Sixteen floats at a time, for AVX-512: the functions that lie between the matrix products.
#pragma once

#include <immintrin.h>

#include "model.h"

namespace anchorage {
namespace {

// 2^x, to 8e-5 of it: the whole part by the exponent, the rest, 0 to 1, by a polynomial.
inline __m512 exp2(__m512 x) {
  const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 power = _mm512_set1_ps(0.07802446f);
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.22606726f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.6958335f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.9999252f));
  return _mm512_scalef_ps(power, x);
}

// GELU, x * Phi(x) = max(x, 0) - |x| Phi(-|x|), to 2e-5: the latter by a polynomial in t, which is -1 to 1 for |x| of 0
// to 4.5, beyond which it is 0 to the same precision. What comes of it is rounded to a code whose step is about 0.02.
inline __m512 gelu(__m512 x) {
  const __m512 magnitude = _mm512_min_ps(_mm512_abs_ps(x), _mm512_set1_ps(4.5f));
  const __m512 t = _mm512_fmsub_ps(magnitude, _mm512_set1_ps(2.0f / 4.5f), _mm512_set1_ps(1.0f));
  __m512 tail = _mm512_set1_ps(-0.0425869673f);
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.0217827633f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.176380813f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.176315606f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.204907522f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.43478179f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.20296821f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.147215918f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.246592388f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.133039504f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.0274971332f));
  return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), tail);
}

// 16 codes: clamp(round(x * multipliers) + zero point, 0, 255), halves to even.
inline __m128i codesOf(__m512 x, __m512 multipliers, __m512i zeroPoint) {
  const __m512i rounded = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, multipliers)), zeroPoint);
  return _mm512_cvtusepi32_epi8(_mm512_max_epi32(rounded, _mm512_setzero_si512()));
}

// LayerNorm of a row [hidden], in place of `row` or not.
inline void normalize(const float* row, int hidden, const Norm& norm, float epsilon, float* out) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < hidden; i += LANES) sum = _mm512_add_ps(sum, _mm512_loadu_ps(row + i));
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(hidden));
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < hidden; i += LANES) {
    const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(row + i), mean);
    squares = _mm512_fmadd_ps(centred, centred, squares);
  }
  const float variance = _mm512_reduce_add_ps(squares) / static_cast<float>(hidden);
  const __m512 inverse = _mm512_set1_ps(1.0f / __builtin_sqrtf(variance + epsilon));
  for (int i = 0; i < hidden; i += LANES) {
    const __m512 unit = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + i), mean), inverse);
    _mm512_storeu_ps(out + i, _mm512_fmadd_ps(unit, _mm512_loadu_ps(norm.scale + i), _mm512_loadu_ps(norm.bias + i)));
  }
}

inline void roundRow(const float* row, int hidden, const Rounding& rounding, uint8_t* codes) {
  const __m512i zeroPoint = _mm512_set1_epi32(rounding.zeroPoint);
  for (int i = 0; i < hidden; i += LANES) {
    const __m512 multipliers = _mm512_loadu_ps(rounding.multipliers + i);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), codesOf(_mm512_loadu_ps(row + i), multipliers, zeroPoint));
  }
}

}  // namespace
}  // namespace anchorage
