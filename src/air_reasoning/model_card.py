"""The README of a checkpoint: how it was made, on what, and how well it does - numbers included."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from air_reasoning.files import atomic_write
from air_reasoning.json_io import dump_pretty

_HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# air-reasoning {title}

{summary}

A real `Qwen3VLForConditionalGeneration` with 1.7M parameters in fp16 (3.4 MB), trained from nothing
on two CPU cores. It reads 128-pixel pictures of bar, line and table charts, labelled figures and
handwritten digits. It exists so that every part of `air-reasoning` can be run, tested and
understood on a laptop; outside of such pictures and the questions of `air tasks make` it knows
nothing.

```python
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration
model = Qwen3VLForConditionalGeneration.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
```

## How it was made
`make base-model` (settings: `air config show base-model`), seed {seed}:
1. Reading: {reading_steps} updates of {reading_batch} pictures. Values come from the tables of the
   packages vega-datasets and scikit-learn, a third from random digits; names are single letters and
   {words} short words; drawn by Pillow and matplotlib in {fonts} fonts. Losses: transcription,
   look-up, and a letter head on the vision tower that is thrown away.
2. Cold start (only in `cold_start`): {tasks} tasks, solutions in words and solutions rewritten as
   code, every cell executed in the sandbox, kept only if the answer is right; vision
   frozen. {rounds}

Held out: the tables {held_out}
and the last 347 of scikit-learn's handwritten digits. The names are not held out: the words of the
test pictures occur in training, with other values.
"""

_SETTINGS = ("seed", "reading_steps", "reading_batch", "tasks")
_SUMMARIES = {
    "base": "The base model: it transcribes pictures and looks values up.",
    "cold_start": "The cold start: it reads, then answers or calls Python, without knowing when.",
}


def write_card(
    folder: Path, name: str, config: Mapping[str, Any], figures: Mapping[str, Any]
) -> None:
    """Write ``README.md`` and ``figures.json`` (reading, behaviour) into a checkpoint folder."""
    from air_reasoning.tasks.canvas import FONTS
    from air_reasoning.tasks.tables import TEST_TABLES, WORDS

    text = _HEAD.format(
        title=name.replace("_", " "), summary=_SUMMARIES[name],
        held_out=", ".join(sorted(TEST_TABLES)),
        words=len(WORDS), fonts=len(set(FONTS)),
        rounds=_rounds(config["rounds"]), **{key: config[key] for key in _SETTINGS},
    )  # fmt: skip
    text += "\n## How well it reads\n"
    each = config["test_pictures"]
    text += f"Exact transcription of held-out tables, greedy, {each} pictures a kind:\n\n"
    text += _table(figures["reading"])
    if name == "cold_start":
        text += "\n## How it behaves\n"
        text += f"{figures['greedy']['n']['value']} held-out tasks; "
        text += "`direct` is greedy with code forbidden:\n\n"
        text += _behaviour({k: figures[k] for k in ("greedy", "sampled", "direct")})
    atomic_write(folder / "README.md", text)
    atomic_write(folder / "figures.json", dump_pretty(figures))


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> str:
    told = [
        f"{r['steps']} updates of {r['batch']} samples and {r['practice_rows']} rows of practice in"
        f" text ({100 * r['practice_programs']:.0f} % programs, else comparisons and sums)"
        for r in rounds
    ]
    text = " ".join(f"Round {n}: {text}." for n, text in enumerate(told, 1))
    return textwrap.fill(text, width=92, subsequent_indent="   ")


def _table(metrics: Mapping[str, Any]) -> str:
    rows = ["| kind | read exactly | 95 % interval |", "|---|---|---|"]
    for name, metric in metrics.items():
        rows.append(
            f"| {name} | {metric['value']:.3f} | {metric['low']:.3f} - {metric['high']:.3f} |"
        )
    return "\n".join(rows) + "\n"


def _behaviour(by_decoding: Mapping[str, Mapping[str, Any]]) -> str:
    keys = (
        "accuracy", "accuracy_easy", "accuracy_medium", "accuracy_hard", "accuracy_interleaved",
        "code_share_easy", "code_share_medium", "code_share_hard", "tool_success", "tokens_mean",
    )  # fmt: skip
    rows = ["| | " + " | ".join(by_decoding) + " |", "|---" * (1 + len(by_decoding)) + "|"]
    for key in keys:
        values = [metrics[key]["value"] for metrics in by_decoding.values()]
        shown = ["-" if v is None else f"{v:.3f}" if v <= 1 else f"{v:.1f}" for v in values]
        rows.append(f"| {key} | " + " | ".join(shown) + " |")
    return "\n".join(rows) + "\n"
