// A model that owns its arrays.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model.h"

namespace anchorage {

// A linear layer as a graph holds it; `codes` [inputs, outputs] row by row, `zeroPoint` that of what it is multiplied
// with.
struct PlainLinear {
  int inputs;
  int outputs;
  const int8_t* codes;
  const float* scales;
  const float* bias;
  int zeroPoint;
};

class Weights {
 public:
  Model model{};
  std::vector<Layer> layers;

  // Copies, 64 bytes aligned, that live as long as the weights.
  const float* keep(const float* values, size_t count);
  const int8_t* keep(const int8_t* values, size_t count);
  // Multipliers of `channels` values, and 0 up to the next STEP.
  Rounding keep(const float* multipliers, int channels, int zeroPoint);
  // In panels, see model.h.
  Linear keep(const PlainLinear& plain);

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::vector<std::unique_ptr<void, Free>> kept_;

  void* allocate(size_t bytes);
};

}  // namespace anchorage
