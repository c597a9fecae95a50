// What JavaScript sees (src/model/native-encoder.ts has its types):
//
//   instructions() -> "amx" | "vnni" | "none"
//   open(key, instructions, read) -> encoder     `read` is called for the weights unless a thread has those of `key`
//   open layers(encoder) -> how many the model has encode(encoder, ids, lengths, layers, rowTokens, hiddenStates |
//   undefined, receivedAttention | undefined)
//
// Weights are shared by all threads; an encoder belongs to one. Nothing here trusts its arguments: a wrong size or an
// id beyond the vocabulary is an exception.
#include <node_api.h>

#include <map>
#include <mutex>
#include <stdexcept>

#include "processor.h"
#include "scratch.h"
#include "weights.h"

namespace anchorage {
namespace {

struct Pending : std::exception {};  // JavaScript has thrown already

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw Pending();
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  throw std::invalid_argument(info && info->error_message ? info->error_message : "Node-API refused a call");
}

template <class T>
constexpr napi_typedarray_type arrayType();
template <>
constexpr napi_typedarray_type arrayType<float>() {
  return napi_float32_array;
}
template <>
constexpr napi_typedarray_type arrayType<int8_t>() {
  return napi_int8_array;
}
template <>
constexpr napi_typedarray_type arrayType<int32_t>() {
  return napi_int32_array;
}

template <class T>
struct Span {
  T* data;
  size_t count;
};

template <class T>
Span<T> arrayOf(napi_env env, napi_value value, const char* what) {
  bool is = false;
  check(env, napi_is_typedarray(env, value, &is));
  napi_typedarray_type type;
  size_t count = 0;
  void* data = nullptr;
  if (is) check(env, napi_get_typedarray_info(env, value, &type, &count, &data, nullptr, nullptr));
  if (!is || type != arrayType<T>())
    throw std::invalid_argument(std::string(what) + " is not a typed array of its type");
  return {static_cast<T*>(data), count};
}

// Reads properties of an object, and complains by name.
class Reader {
 public:
  Reader(napi_env env, napi_value object) : env_(env), object_(object) {}

  napi_value value(const char* name) const {
    napi_value value;
    check(env_, napi_get_named_property(env_, object_, name, &value));
    return value;
  }

  Reader object(const char* name) const { return {env_, value(name)}; }

  bool has(const char* name) const {
    napi_valuetype type;
    check(env_, napi_typeof(env_, value(name), &type));
    return type != napi_undefined;
  }

  int integer(const char* name) const {
    int32_t number;
    check(env_, napi_get_value_int32(env_, value(name), &number));
    return number;
  }

  double number(const char* name) const {
    double number;
    check(env_, napi_get_value_double(env_, value(name), &number));
    return number;
  }

  template <class T>
  const T* array(const char* name, size_t count) const {
    const Span<T> span = arrayOf<T>(env_, value(name), name);
    if (span.count != count) {
      throw std::invalid_argument(std::string(name) + " has " + std::to_string(span.count) + " values, not " +
                                  std::to_string(count));
    }
    return span.data;
  }

  uint32_t length() const {
    uint32_t count;
    check(env_, napi_get_array_length(env_, object_, &count));
    return count;
  }

  Reader at(uint32_t index) const {
    napi_value value;
    check(env_, napi_get_element(env_, object_, index, &value));
    return {env_, value};
  }

 private:
  napi_env env_;
  napi_value object_;
};

template <class T>
const T* kept(Weights& weights, const Reader& reader, const char* name, size_t count) {
  return weights.keep(reader.array<T>(name, count), count);
}

Norm normOf(Weights& weights, const Reader& reader, int hidden) {
  return {kept<float>(weights, reader, "scale", hidden), kept<float>(weights, reader, "bias", hidden)};
}

Rounding roundingOf(Weights& weights, const Reader& reader, int channels) {
  return weights.keep(reader.array<float>("multipliers", channels), channels, reader.integer("zeroPoint"));
}

Linear linearOf(Weights& weights, const Reader& reader, int inputs, int outputs, const Rounding& input) {
  PlainLinear plain{};
  plain.inputs = inputs;
  plain.outputs = outputs;
  plain.codes = reader.array<int8_t>("codes", static_cast<size_t>(inputs) * outputs);
  plain.scales = reader.array<float>("scales", outputs);
  plain.bias = reader.array<float>("bias", outputs);
  plain.zeroPoint = input.zeroPoint;
  return weights.keep(plain);
}

Layer layerOf(Weights& weights, const Reader& reader, int hidden, int wide) {
  Layer layer{};
  layer.hidden = roundingOf(weights, reader.object("hidden"), hidden);
  layer.projection = linearOf(weights, reader.object("projection"), hidden, 3 * hidden, layer.hidden);
  layer.context = roundingOf(weights, reader.object("context"), hidden);
  layer.attentionOutput = linearOf(weights, reader.object("attentionOutput"), hidden, hidden, layer.context);
  layer.attentionNorm = normOf(weights, reader.object("attentionNorm"), hidden);
  layer.attended = roundingOf(weights, reader.object("attended"), hidden);
  layer.intermediate = linearOf(weights, reader.object("intermediate"), hidden, wide, layer.attended);
  layer.widened = roundingOf(weights, reader.object("widened"), wide);
  layer.output = linearOf(weights, reader.object("output"), wide, hidden, layer.widened);
  layer.outputNorm = normOf(weights, reader.object("outputNorm"), hidden);
  return layer;
}

std::shared_ptr<const Weights> weightsOf(const Reader& reader) {
  auto weights = std::make_shared<Weights>();
  Model& model = weights->model;
  model.vocabulary = reader.integer("vocabulary");
  model.positions = reader.integer("positions");
  model.hidden = reader.integer("hidden");
  model.heads = reader.integer("heads");
  model.epsilon = static_cast<float>(reader.number("epsilon"));
  const int hidden = model.hidden, wide = reader.integer("wide");
  if (hidden <= 0 || hidden % STEP || model.heads <= 0 || hidden % (model.heads * BLOCK) || wide <= 0 || wide % PANEL) {
    throw std::invalid_argument(
        "sizes do not fit: hidden is a multiple of 64, heads of 32, the feed-forward network of 32");
  }
  model.words = kept<int8_t>(*weights, reader, "words", static_cast<size_t>(model.vocabulary) * hidden);
  model.wordSteps = kept<float>(*weights, reader, "wordSteps", model.vocabulary);
  model.positionRows = kept<float>(*weights, reader, "positionRows", static_cast<size_t>(model.positions) * hidden);
  model.embeddingNorm = normOf(*weights, reader.object("embeddingNorm"), hidden);
  if (reader.has("headWeights")) model.headWeights = kept<float>(*weights, reader, "headWeights", model.heads);
  const Reader layers = reader.object("layers");
  model.layerCount = static_cast<int>(layers.length());
  if (model.layerCount == 0) throw std::invalid_argument("there are no layers");
  for (uint32_t i = 0; i < layers.length(); i++)
    weights->layers.push_back(layerOf(*weights, layers.at(i), hidden, wide));
  model.layers = weights->layers.data();
  return weights;
}

struct Encoder {
  std::shared_ptr<const Weights> weights;
  Forward forward;
  Scratch scratch;
};

std::string stringOf(napi_env env, napi_value value) {
  size_t length;
  check(env, napi_get_value_string_utf8(env, value, nullptr, 0, &length));
  std::string text(length + 1, '\0');
  check(env, napi_get_value_string_utf8(env, value, text.data(), text.size(), &length));
  text.resize(length);
  return text;
}

Forward forwardFor(const std::string& instructions) {
  const Instructions best = bestInstructions();
  if (instructions == "amx" && best == Instructions::amx) return forwardAmx;
  if (instructions == "vnni" && best != Instructions::none) return forwardVnni;
  throw std::invalid_argument("this processor does not have " + instructions);
}

// A second thread that opens the same weights waits until the first has them.
std::shared_ptr<const Weights> sharedWeights(napi_env env, const std::string& key, napi_value read) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Weights>> open;
  const std::lock_guard<std::mutex> lock(mutex);
  if (auto known = open[key].lock()) return known;
  napi_value nothing, plain;
  check(env, napi_get_undefined(env, &nothing));
  check(env, napi_call_function(env, nothing, read, 0, nullptr, &plain));
  auto weights = weightsOf({env, plain});
  open[key] = weights;
  return weights;
}

napi_value openEncoder(napi_env env, napi_value* arguments) {
  auto encoder = std::make_unique<Encoder>();
  encoder->forward = forwardFor(stringOf(env, arguments[1]));
  encoder->weights = sharedWeights(env, stringOf(env, arguments[0]), arguments[2]);
  napi_value result;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Encoder*>(data); };
  check(env, napi_create_external(env, encoder.get(), finalize, nullptr, &result));
  encoder.release();
  return result;
}

float* resultOf(napi_env env, napi_value value, size_t count, const char* what) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  if (type == napi_undefined) return nullptr;
  const Span<float> span = arrayOf<float>(env, value, what);
  if (span.count < count) throw std::invalid_argument(std::string(what) + " is too small");
  return span.data;
}

void checkBatch(const Model& model, const Batch& batch) {
  if (batch.layers < 1 || batch.layers > model.layerCount) throw std::invalid_argument("there are not so many layers");
  const int longest = batch.rowTokens < model.positions ? batch.rowTokens : model.positions;
  int64_t tokens = 0;
  for (int text = 0; text < batch.texts; text++) {
    const int length = batch.lengths[text];
    if (length < 1 || length > longest)
      throw std::invalid_argument("a text has " + std::to_string(length) + " tokens; 1 to " + std::to_string(longest) +
                                  " fit");
    tokens += length;
  }
  if (tokens != batch.tokens) throw std::invalid_argument("lengths do not add up to the number of ids");
  for (int at = 0; at < batch.tokens; at++) {
    if (batch.ids[at] < 0 || batch.ids[at] >= model.vocabulary)
      throw std::invalid_argument("there is no token " + std::to_string(batch.ids[at]));
  }
}

Encoder* encoderOf(napi_env env, napi_value value) {
  void* data;
  check(env, napi_get_value_external(env, value, &data));
  return static_cast<Encoder*>(data);
}

napi_value encode(napi_env env, napi_value* arguments) {
  Encoder* encoder = encoderOf(env, arguments[0]);
  const Model& model = encoder->weights->model;
  const auto ids = arrayOf<int32_t>(env, arguments[1], "ids");
  const auto lengths = arrayOf<int32_t>(env, arguments[2], "lengths");
  Batch batch{};
  batch.ids = ids.data;
  batch.lengths = lengths.data;
  batch.texts = static_cast<int>(lengths.count);
  batch.tokens = static_cast<int>(ids.count);
  check(env, napi_get_value_int32(env, arguments[3], &batch.layers));
  check(env, napi_get_value_int32(env, arguments[4], &batch.rowTokens));
  checkBatch(model, batch);
  const size_t rows = lengths.count * batch.rowTokens;
  batch.hiddenStates = resultOf(env, arguments[5], rows * model.hidden, "hiddenStates");
  batch.receivedAttention = resultOf(env, arguments[6], rows, "receivedAttention");
  encoder->forward(model, batch, encoder->scratch);
  napi_value nothing;
  check(env, napi_get_undefined(env, &nothing));
  return nothing;
}

napi_value layers(napi_env env, napi_value* arguments) {
  napi_value count;
  check(env, napi_create_int32(env, encoderOf(env, arguments[0])->weights->model.layerCount, &count));
  return count;
}

napi_value instructions(napi_env env, napi_value*) {
  static const char* const NAMES[] = {"none", "vnni", "amx"};
  napi_value name;
  check(env, napi_create_string_utf8(env, NAMES[static_cast<int>(bestInstructions())], NAPI_AUTO_LENGTH, &name));
  return name;
}

// C++ exceptions become JavaScript's; arguments that are missing are undefined.
template <napi_value (*function)(napi_env, napi_value*)>
napi_value guarded(napi_env env, napi_callback_info info) {
  size_t count = 7;
  napi_value arguments[7];
  try {
    check(env, napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
    return function(env, arguments);
  } catch (const Pending&) {
  } catch (const std::invalid_argument& error) {
    napi_throw_range_error(env, nullptr, error.what());
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return nullptr;
}

void addFunction(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace
}  // namespace anchorage

NAPI_MODULE_INIT() {
  using namespace anchorage;
  addFunction(env, exports, "instructions", guarded<instructions>);
  addFunction(env, exports, "open", guarded<openEncoder>);
  addFunction(env, exports, "layers", guarded<layers>);
  addFunction(env, exports, "encode", guarded<encode>);
  return exports;
}
