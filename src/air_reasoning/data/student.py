"""Samples as one model's token ids: a teacher's text becomes rows that the loss can count.

A teacher behind an endpoint gives no ids, and its ids would be another model's anyway. What RL and
sampling will show the student is rendered by the same ``Renderer``: prompt, turns, real outputs.
"""

import re
from dataclasses import replace

from air_reasoning.data.cold_start import ColdStartSample, Weights
from air_reasoning.errors import DataError
from air_reasoning.images import load_ref
from air_reasoning.models.token_text import Text
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.base import Completion
from air_reasoning.types import Segment, Task


def has_ids(sample: ColdStartSample) -> bool:
    """Whether a sample was made with a model's own tokens."""
    return bool(sample.trajectory.prompt_ids)


def for_student(task: Task, sample: ColdStartSample, renderer: Renderer) -> ColdStartSample:
    """The sample with ids and weights of the renderer's model; one that has ids stays as it is.

    Each turn is encoded as a whole, as the model would write it; a picture's placeholder or an
    end-of-turn token that a teacher's text spells stays plain text. What the model is to write
    weighs 1, outputs 0. The last turn ends with the end-of-turn token.

    Raises:
        DataError: nothing in it is to be written by the model, a picture is gone, or the model's
            chat template cannot show the prompt.
    """
    if has_ids(sample):
        return sample
    if not any(s.text.strip() for s in sample.trajectory.segments if s.trainable):
        raise DataError(f"sample {sample.trajectory.id}: holds nothing that the model is to write")
    images = [load_ref(ref) for ref in task.images]
    segments = list[Segment]()
    turn = list[Segment]()
    for segment in sample.trajectory.segments:
        if segment.trainable:
            turn.append(segment)
            continue
        segments += _turn(turn, renderer, last=False)
        turn.clear()
        segments.append(_output(segment, renderer))
    segments += _turn(turn, renderer, last=True)
    weights: Weights = [[len(s.token_ids), float(s.trainable)] for s in segments]
    trajectory = replace(
        sample.trajectory, prompt_ids=renderer.prompt_ids(task, images), segments=segments
    )
    return replace(sample, trajectory=trajectory, weights=weights)


def _turn(segments: list[Segment], renderer: Renderer, *, last: bool) -> list[Segment]:
    text = "".join(segment.text for segment in segments)
    special = _special(renderer)
    parts = re.split(f"({'|'.join(map(re.escape, special))})", text) if special else [text]
    ids = renderer.token_text.encode([Text(part, tags=part not in special) for part in parts])
    if last:
        ids.append(renderer.loaded.tokenizer.eos_token_id)
    if not ids:
        return []
    turn = Completion(token_ids=ids, logprobs=[], text=text, finish_reason="stop")
    rendered = renderer.turn_segments(turn)
    codes = iter([segment.code for segment in segments if segment.kind == "code"])
    for segment in rendered:
        segment.code = next(codes, "") if segment.kind == "code" else ""
    return rendered


def _special(renderer: Renderer) -> list[str]:
    """Words of the chat template and of pictures, which no text of a teacher may become."""
    added = renderer.token_text.added
    special = {*renderer.loaded.tokenizer.all_special_tokens}
    special |= {name for name, i in added.items() if i in renderer.loaded.placeholder_ids}
    return sorted(special & added.keys(), key=len, reverse=True)


def _output(segment: Segment, renderer: Renderer) -> Segment:
    opening, closing = renderer.form.output
    body = segment.text.removeprefix(opening).removesuffix(closing)
    ids = renderer.output_ids(body, [load_ref(ref) for ref in segment.images])
    return replace(segment, token_ids=ids)
