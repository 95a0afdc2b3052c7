"""Reading a turn while it is written gives what reading it afterwards gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_reasoning.turn_format import AIR, THYME, parse_turn
from air_reasoning.turn_stream import TurnStream

TURNS = [
    "<think>1+2</think><code>print(3)</code>",
    "so <think>a<code>```python\nx = '</code>'\n```</code>b</think>c<answer>\\boxed{3}</answer>",
    "a < b </thin <answer>x</code></answer> <code>1",
    "<code># </code>",
    "",
]


def joined(pairs):
    """Neighbours of one kind as one."""
    out = []
    for kind, text in pairs:
        if out and out[-1][0] == kind:
            out[-1] = (kind, out[-1][1] + text)
        else:
            out.append((kind, text))
    return out


def bodies(text):
    """The same from ``parse_turn``, fences and tags as in the text."""
    tags = {"think": AIR.think, "code": AIR.code, "answer": AIR.answer, "text": ("", "")}
    pairs = []
    for p in parse_turn(text, AIR):
        opening, closing = tags[p.kind]
        pairs.append((p.kind, p.text.removeprefix(opening).removesuffix(closing)))
    return joined(pair for pair in pairs if pair[1])


@pytest.mark.parametrize("text", TURNS)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_pieces_of_any_size_give_the_whole(text, size):
    stream = TurnStream(AIR)
    pairs = []
    for start in range(0, len(text), size):
        pairs += stream.feed(text[start : start + size])
    assert joined([*pairs, *stream.end()]) == bodies(text)


@given(st.lists(st.sampled_from(["<think>", "</code>", "<co", "de>", "a", "<", "</answer>"])))
def test_nothing_is_lost_but_tags(pieces):
    stream = TurnStream(THYME)
    shown = "".join(text for piece in pieces for _, text in stream.feed(piece))
    shown += "".join(text for _, text in stream.end())
    rest = "".join(pieces)
    for character in shown:  # a subsequence of what was fed
        assert character in rest
        rest = rest[rest.index(character) + 1 :]


def test_what_may_become_a_tag_waits_and_nothing_else():
    stream = TurnStream(AIR)
    assert list(stream.feed("ab<thi")) == [("text", "ab")]
    assert list(stream.feed("s")) == [("text", "<this")]
