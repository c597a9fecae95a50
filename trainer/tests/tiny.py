"""Tiny randomly initialised models with a word-level tokenizer: real architectures at a few thousand parameters."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (BertConfig, BertModel, MistralConfig, MistralModel, MPNetConfig, MPNetModel, PreTrainedModel,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen2Model)

WORDS = ("the a of to in red green blue cat dog bird tree house river runs sleeps sings grows what where who why is are "
         "does near under over . , ? ! one two three four five six seven eight nine ten query passage :").split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 64, "pad_token_id": 0}


def tiny_bert(folder: Path, **changes: object) -> Path:
    """No dropout, so that two runs over the same batch are equal. Initial weights are large enough for attention to vary."""
    return _save(BertModel(BertConfig(**{**SIZES, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
                                         "initializer_range": 0.3, **changes})), folder)


def tiny_mistral(folder: Path) -> Path:
    return _save(MistralModel(MistralConfig(**SIZES, num_key_value_heads=2, initializer_range=0.3, sliding_window=None)), folder)


def tiny_qwen(folder: Path) -> Path:
    return _save(Qwen2Model(Qwen2Config(**SIZES, num_key_value_heads=2, initializer_range=0.3)), folder)


def tiny_mpnet(folder: Path) -> Path:
    return _save(MPNetModel(MPNetConfig(**SIZES)), folder)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", model_max_length=64)


def _save(model: PreTrainedModel, folder: Path) -> Path:
    """`model` with weights drawn anew from a fixed seed."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
