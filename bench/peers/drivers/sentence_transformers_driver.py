"""usage: sentence_transformers_driver.py FOLDER THREADS torch | FOLDER THREADS onnx FILE"""

import sys

import onnxruntime
import torch
from line_driver import serve
from sentence_transformers import SentenceTransformer


def load():
    folder, threads, backend, *file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    options = {}
    if backend == "onnx":
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = int(threads)
        options = {"file_name": file[0], "provider": "CPUExecutionProvider", "session_options": session}
    model = SentenceTransformer(folder, device="cpu", backend=backend, model_kwargs=options)
    return lambda texts, batch_size: model.encode(
        texts, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )


serve(load)
