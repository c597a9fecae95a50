// Softmax over one query's scores, for AVX-512, and the sums of what keys receive.
#pragma once

#include "lanes.h"

namespace anchorage {
namespace {

// The lanes that hold keys before `tokens`, from `key` on.
inline __mmask16 lanesBefore(int tokens, int key) {
  return tokens - key >= LANES ? 0xffff : static_cast<__mmask16>((1u << (tokens - key)) - 1);
}

inline float largest(const float* scores, int tokens) {
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  __m512 even = lowest, odd = lowest;
  int key = 0;
  for (; key + 2 * LANES <= tokens; key += 2 * LANES) {
    even = _mm512_max_ps(even, _mm512_loadu_ps(scores + key));
    odd = _mm512_max_ps(odd, _mm512_loadu_ps(scores + key + LANES));
  }
  for (; key < tokens; key += LANES) {
    even = _mm512_max_ps(even, _mm512_mask_loadu_ps(lowest, lanesBefore(tokens, key), scores + key));
  }
  return _mm512_reduce_max_ps(_mm512_max_ps(even, odd));
}

// Hands e^(score - largest score) of sixteen keys each to `store`, 0 behind `tokens`; returns their sum.
template <class Store>
float exponentials(const float* scores, int tokens, const Store& store) {
  constexpr float LOG2_E = 1.44269504f;
  const __m512 factor = _mm512_set1_ps(LOG2_E);
  const __m512 shift = _mm512_set1_ps(-LOG2_E * largest(scores, tokens));
  const auto power = [&](int key) { return exp2(_mm512_fmadd_ps(_mm512_loadu_ps(scores + key), factor, shift)); };
  __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
  int key = 0;
  for (; key + 2 * LANES <= tokens; key += 2 * LANES) {
    const __m512 left = power(key), right = power(key + LANES);
    even = _mm512_add_ps(even, left);
    odd = _mm512_add_ps(odd, right);
    store(key, left);
    store(key + LANES, right);
  }
  for (; key < tokens; key += LANES) {
    const __m512 kept = _mm512_maskz_mov_ps(lanesBefore(tokens, key), power(key));
    even = _mm512_add_ps(even, kept);
    store(key, kept);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

// received [tokens] += weight * attention [tokens].
inline void addReceived(const float* attention, int tokens, float weight, float* received) {
  const __m512 factor = _mm512_set1_ps(weight);
  for (int key = 0; key < tokens; key += LANES) {
    const __mmask16 real = lanesBefore(tokens, key);
    const __m512 sum = _mm512_maskz_loadu_ps(real, received + key);
    _mm512_mask_storeu_ps(received + key, real, _mm512_fmadd_ps(_mm512_loadu_ps(attention + key), factor, sum));
  }
}

}  // namespace
}  // namespace anchorage
