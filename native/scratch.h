// What a forward pass writes in between, kept from batch to batch by each thread. Buffers only grow, and start as
// zeros: rows behind the last token are read by whole blocks, and must hold finite numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "model.h"

namespace anchorage {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  T* get() const { return data_; }

  // At least `count` values; what was there is lost when it grows.
  T* reserve(size_t count) {
    if (count > count_) {
      std::free(data_);
      count_ = 0;
      const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (!data_) throw std::bad_alloc();
      std::memset(static_cast<void*>(data_), 0, bytes);
      count_ = count;
    }
    return data_;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

// Tokens that pass through a layer's feed-forward network together, so that what they widen to stays in the cache.
constexpr int ROWS = 64;

class Scratch {
 public:
  Buffer<float> hidden;        // [rows, hidden]
  Buffer<uint8_t> codes;       // [rows, hidden]: hidden states as codes, or contexts
  Buffer<char> projected;      // [rows, 3 hidden], of 2 or 4 bytes
  Buffer<float> sums;          // [ROWS, hidden]
  Buffer<uint8_t> widened;     // [ROWS, intermediate]
  Buffer<char> keys;           // [tokens of a text, head size], rearranged
  Buffer<char> values;         // [tokens of a text, head size], rearranged
  Buffer<float> scores;        // [some queries, tokens of a text]
  Buffer<char> probabilities;  // [some queries, tokens of a text]
};

}  // namespace anchorage
