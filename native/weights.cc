#include "weights.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace anchorage {

void Weights::Free::operator()(void* memory) const { std::free(memory); }

void* Weights::allocate(size_t bytes) {
  const size_t whole = (bytes + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, whole);
  if (!memory) throw std::bad_alloc();
  std::memset(memory, 0, whole);
  kept_.emplace_back(memory);
  return memory;
}

const float* Weights::keep(const float* values, size_t count) {
  void* copy = allocate(count * sizeof(float));
  std::memcpy(copy, values, count * sizeof(float));
  return static_cast<const float*>(copy);
}

const int8_t* Weights::keep(const int8_t* values, size_t count) {
  void* copy = allocate(count);
  std::memcpy(copy, values, count);
  return static_cast<const int8_t*>(copy);
}

Rounding Weights::keep(const float* multipliers, int channels, int zeroPoint) {
  auto* copy = static_cast<float*>(allocate(roundUp(channels, STEP) * sizeof(float)));
  std::memcpy(copy, multipliers, channels * sizeof(float));
  return {copy, zeroPoint};
}

Linear Weights::keep(const PlainLinear& plain) {
  const int inputs = roundUp(plain.inputs, STEP);
  const int outputs = roundUp(plain.outputs, PANEL);
  auto* panels = static_cast<int8_t*>(allocate(static_cast<size_t>(inputs) * outputs));
  auto* scales = static_cast<float*>(allocate(outputs * sizeof(float)));
  auto* bias = static_cast<float*>(allocate(outputs * sizeof(float)));
  std::vector<int64_t> sums(plain.outputs, 0);
  for (int input = 0; input < plain.inputs; input++) {
    const int8_t* row = plain.codes + static_cast<size_t>(input) * plain.outputs;
    // [panel][step][half][group of 4 inputs][output][input], of these sizes: PANEL * inputs, PANEL * STEP, 1024, 64,
    // 4, 1.
    const size_t inPanel = static_cast<size_t>(input / STEP) * PANEL * STEP + input % STEP / 4 * 64 + input % 4;
    for (int output = 0; output < plain.outputs; output++) {
      const size_t panel = static_cast<size_t>(output / PANEL) * PANEL * inputs;
      panels[panel + inPanel + output % PANEL / LANES * STEP * LANES + output % LANES * 4] = row[output];
      sums[output] += row[output];
    }
  }
  for (int output = 0; output < plain.outputs; output++) {
    scales[output] = plain.scales[output];
    bias[output] = static_cast<float>(plain.bias[output] -
                                      static_cast<double>(plain.scales[output]) * plain.zeroPoint * sums[output]);
  }
  return {inputs, outputs, panels, scales, bias};
}

}  // namespace anchorage
