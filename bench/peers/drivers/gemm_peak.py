"""What this machine multiplies at best in ONNX Runtime: a float32 and an int8 product of large matrices.

usage: gemm_peak.py THREADS; prints one line of JSON in 1e9 operations a second, a multiplication and an addition
counting as two.
"""

import json
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, INNER, COLUMNS = 1024, 1536, 1536
SECONDS = 1.0


def session(node, input_type, weight, output_type, threads):
    x = helper.make_tensor_value_info("x", input_type, [ROWS, INNER])
    y = helper.make_tensor_value_info("y", output_type, [ROWS, COLUMNS])
    graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def billions_a_second(run) -> float:
    run()
    times = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 2 * ROWS * INNER * COLUMNS / min(times) / 1e9


def main(threads: int) -> None:
    random = np.random.default_rng(0)
    float_weight = random.standard_normal((INNER, COLUMNS), dtype=np.float32)
    float_input = random.standard_normal((ROWS, INNER), dtype=np.float32)
    float_node = helper.make_node("MatMul", ["x", "w"], ["y"])
    float_session = session(float_node, TensorProto.FLOAT, float_weight, TensorProto.FLOAT, threads)
    int_weight = random.integers(-127, 128, (INNER, COLUMNS), dtype=np.int8)
    int_input = random.integers(0, 256, (ROWS, INNER), dtype=np.uint8)
    int_node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    int_session = session(int_node, TensorProto.UINT8, int_weight, TensorProto.INT32, threads)
    peaks = {
        "float32": billions_a_second(lambda: float_session.run(None, {"x": float_input})),
        "int8": billions_a_second(lambda: int_session.run(None, {"x": int_input})),
    }
    print(json.dumps(peaks))


main(int(sys.argv[1]))
