"""Which graph a --quantization asks for."""

from collections.abc import Sequence
from pathlib import Path

import onnx

from trainer.encoder import Encoder
from trainer.errors import InputError
from trainer.export.bert_graph import Float32, build_bert_graph
from trainer.export.bert_weights import bert_weights, is_plain_bert
from trainer.export.int8_graph import build_int8_graph
from trainer.export.torch_graph import export_torch_graph


def write_graph(encoder: Encoder, quantization: str, path: Path, calibration_texts: list[str], exits: Sequence[int] = ()) -> None:
    """Write the encoder's graph of this kind to `path`: float32, int8 (static) or int8-dynamic.

    BERT gets the graph of bert_graph.py; other architectures the one that PyTorch's exporter traces, which has no static
    int8 form. `exits` are numbers of layers after which a run may end; only the graph of bert_graph.py has them.
    """
    if exits and (not is_plain_bert(encoder) or quantization == "int8-dynamic"):
        raise InputError(f"--exit is made for BERT with GELU in float32 or int8, not for {encoder.architecture} in {quantization}")
    if quantization == "int8":
        if not is_plain_bert(encoder):
            raise InputError(f"static int8 is made for BERT with GELU; {encoder.folder} is {encoder.architecture}: "
                             "take --quantization int8-dynamic or float32")
        onnx.save(build_int8_graph(encoder, calibration_texts, exits), path)
    elif quantization == "int8-dynamic":
        _write_dynamic_int8(encoder, path)
    else:
        _write_float32(encoder, path, exits)


def _write_float32(encoder: Encoder, path: Path, exits: Sequence[int] = ()) -> None:
    if is_plain_bert(encoder):
        weights = bert_weights(encoder)
        onnx.save(build_bert_graph(weights, Float32(weights), exits), path)
    else:
        export_torch_graph(encoder, path)


def _write_dynamic_int8(encoder: Encoder, path: Path) -> None:
    """ONNX Runtime's usual int8: a weight scale a column, an activation scale a batch, found while it runs. Weights take seven bits, so that no processor
    saturates (int8_rounding.py says where)."""
    # Imported here: the quantizer's modules are slow to load, and only this kind needs them.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = path.with_name("float32.onnx")
    _write_float32(encoder, plain)
    try:
        quantize_dynamic(plain, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    finally:
        plain.unlink()
