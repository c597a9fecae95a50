// The weights of a BERT encoder in static int8, laid out for the processor. What is here is read-only once it is
// loaded, and shared by all threads of the process.
//
// A value x is held as the code c = clamp(round(x * multiplier) + zeroPoint, 0, 255); see trainer/export/int8_plan.py
// for how its scales are chosen, and trainer/export/int8_graph.py for the ONNX graph that computes the same.
#pragma once

#include <cstdint>

namespace anchorage {

// Rows of codes are multiplied in steps of 64 inputs, panels of 32 outputs and blocks of 32 tokens.
constexpr int STEP = 64;
constexpr int PANEL = 32;
constexpr int BLOCK = 32;
constexpr int LANES = 16;

constexpr int roundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// How a tensor becomes codes. [channels]
struct Rounding {
  const float* multipliers;
  int zeroPoint;
};

// y = codes @ weight * scales + bias, the zero point of the codes already taken off the bias.
struct Linear {
  int inputs;   // a multiple of STEP; what was added is 0
  int outputs;  // a multiple of PANEL; what was added is 0
  // [outputs / 32][inputs / 64][2][16][16][4]: panels; steps; halves of a panel; groups of 4 inputs; outputs; inputs.
  const int8_t* panels;
  const float* scales;  // [outputs]
  const float* bias;    // [outputs]
};

struct Norm {
  const float* scale;  // [hidden]
  const float* bias;   // [hidden]
};

struct Layer {
  Rounding hidden;
  Linear projection;  // query, key and value side by side: [hidden] -> [3 hidden]
  Rounding context;
  Linear attentionOutput;
  Norm attentionNorm;
  Rounding attended;
  Linear intermediate;
  Rounding widened;
  Linear output;
  Norm outputNorm;
};

struct Model {
  int vocabulary;
  int positions;
  int hidden;  // a multiple of 64
  int heads;   // hidden / heads is a multiple of 32
  int layerCount;
  float epsilon;
  const int8_t* words;        // [vocabulary, hidden]
  const float* wordSteps;     // [vocabulary]
  const float* positionRows;  // [positions, hidden]: position and token type 0, added
  Norm embeddingNorm;
  const Layer* layers;
  const float* headWeights;  // [heads], of received attention; null: all 1
};

// A forward pass: texts one after another, without padding.
struct Batch {
  const int32_t* ids;      // [tokens]
  const int32_t* lengths;  // [texts]
  int texts;
  int tokens;
  int layers;  // how many are computed; 1 to layerCount
  // Results, text i from row i * rowTokens on. Either may be null.
  int rowTokens;
  float* hiddenStates;       // [texts, rowTokens, hidden]
  float* receivedAttention;  // [texts, rowTokens]
};

class Scratch;
using Forward = void (*)(const Model&, const Batch&, Scratch&);

// One for each set of instructions; compiled for it, so to be called on processors that have it only.
void forwardVnni(const Model& model, const Batch& batch, Scratch& scratch);
void forwardAmx(const Model& model, const Batch& batch, Scratch& scratch);

}  // namespace anchorage
