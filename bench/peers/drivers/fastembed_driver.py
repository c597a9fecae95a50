"""usage: fastembed_driver.py FOLDER THREADS FILE mean|cls"""

import sys

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from line_driver import serve


def load():
    folder, threads, file, pooling = sys.argv[1:]
    TextEmbedding.add_custom_model(
        model="local/model",
        pooling=PoolingType[pooling.upper()],
        normalization=True,
        sources=ModelSource(hf="local/model"),
        dim=384,
        model_file=file,
    )
    model = TextEmbedding("local/model", threads=int(threads), specific_model_path=folder, cuda=False)
    return lambda texts, batch_size: np.stack(list(model.embed(texts, batch_size=batch_size)))


serve(load)
