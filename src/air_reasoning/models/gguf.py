"""A GGUF file as a checkpoint folder that everything here loads, and trains.

python -m air_reasoning.models.gguf FILE.gguf FOLDER
"""

import importlib.util
import sys
from pathlib import Path

from air_reasoning.errors import DataError, PrerequisiteError


def checkpoint_from_gguf(file: Path, folder: Path) -> Path:
    """Write weights (dequantised, float32), tokenizer and chat template of ``file`` to ``folder``.

    For the kinds of text models that transformers reads from GGUF; the weights are those of the
    quantised file, not what they were before.

    Raises:
        PrerequisiteError: the package gguf is not installed. DataError: no such file, or one that
            transformers cannot read.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected a GGUF model")
    if importlib.util.find_spec("gguf") is None:
        raise PrerequisiteError(
            "gguf is not installed; run `pip install 'air-reasoning[train,gguf]'`"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    plain = GgufConfig(dequantize=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=plain
        )
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise DataError(f"{file}: transformers cannot read it: {error}") from None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(checkpoint_from_gguf(Path(sys.argv[1]), Path(sys.argv[2])))
