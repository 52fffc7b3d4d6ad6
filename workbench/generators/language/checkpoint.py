"""Causal language models and their tokenizers: read from a folder, or made on the spot from random
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError
from workbench.generators.language.cells import Cell
from workbench.generators.language.facts import Fact
from workbench.generators.language.model_server import NAME, checked_model
from workbench.generators.neural.layers import DEVICE, normal
from workbench.tables.schema import Schema

# Tokens of a random checkpoint: all bytes, and the commonest pieces of train's own names and values
WORDS = 1024


def untrained(
    texts: Mapping[str, list[str]], rng: np.random.Generator, width: int = 64, layers: int = 2
) -> tuple:
    """A tiny Llama of random weights, and a tokenizer of bytes and the commonest pieces of names
    and values.

    texts: of each column, its values as they are written.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    split = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    words.pre_tokenizer, words.decoder = pre_tokenizers.Sequence(split), decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=["<row>"], initial_alphabet=letters, show_progress=False
    )
    pieces = (
        piece
        for name, column in texts.items()
        for text in column
        for piece in (f" {name} is", f" {text},")
    )
    words.train_from_iterator(pieces, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<row>", eos_token="<row>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=8192,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):  # these draws are replaced
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.02 * normal(rng, *parameter.shape))
    return model.eval().to(DEVICE), tokenizer


def random_checkpoint(
    folder: str | Path, table: pd.DataFrame, schema: Schema, rng: np.random.Generator, **size: int
) -> None:
    """Saves an `untrained` model with a tokenizer of the table's words, a checkpoint to try things
    with without a network.
    """
    cells = {
        column.name: Cell.of(Fact.of(table[column.name], column), digits=5)
        for column in schema.columns
    }
    model, tokenizer = untrained(
        {name: cell.write(table[name]) for name, cell in cells.items()}, rng, **size
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def is_gguf(checkpoint: str) -> bool:
    """Whether a checkpoint is a file as llama.cpp reads it, and not a folder of transformers."""
    return checkpoint == NAME or checkpoint.endswith(".gguf")


def load(checkpoint: str) -> tuple:
    """A model without dropout, and its tokenizer, of a folder, a GGUF file or a hub's name. Raises
    InputError where it cannot be read.

    The weights of a GGUF file are often rounded to a few bits; what is read here are these rounded
    weights as float32.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, files, weights = checkpoint, {}, {"use_safetensors": True}
    if is_gguf(checkpoint):
        path = checked_model(None if checkpoint == NAME else checkpoint)
        place, files, weights = str(path.parent), {"gguf_file": path.name}, {}
    try:
        with torch.random.fork_rng(devices=[]):  # weights that the folder lacks are drawn
            model = AutoModelForCausalLM.from_pretrained(
                place, dtype=torch.float32, **files, **weights
            )
        packed = getattr(model, "hf_quantizer", None)
        if packed is not None:
            # The weights are plain floats by now; the note that they were packed forbids saving them
            packed.remove_quantization_config(model)
        return model.eval().to(DEVICE), AutoTokenizer.from_pretrained(place, **files)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"GReaT: checkpoint {checkpoint!r} cannot be read ({reason}); name a folder saved by"
            " transformers, or a GGUF file."
        ) from None


def last_layers(model: torch.nn.Module, count: int) -> list[torch.nn.Parameter]:
    """The parameters of the last `count` layers; all others are frozen, which spares the way back
    through the layers below.
    """
    lists = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList)]
    layers = max(lists, key=len)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    learnt = []
    for layer in layers[-count:]:
        learnt += list(layer.parameters())
    for parameter in learnt:
        parameter.requires_grad_(True)
    return learnt
