"""Between token ids and text, without ever making ids again from text that the model wrote."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST_CHARACTER = 4  # bytes, hence tokens


@dataclass(slots=True, frozen=True)
class Text:
    """Text to encode. ``tags`` says whether added tokens spelled in it are those tokens.

    Ours (templates, tags) are; a question or a tool result that spells ``<|image_pad|>`` is not.
    """

    text: str
    tags: bool = False


class TokenText:
    """One tokenizer's reading and writing. Special tokens have no text: they are for the model."""

    def __init__(self, tokenizer: Any) -> None:
        """``tokenizer``: a fast tokenizer of transformers."""
        self._backend = tokenizer.backend_tokenizer
        self._pieces: dict[int, str] = {}
        self._plain: Any = None
        self.added: dict[str, int] = dict(tokenizer.get_added_vocab())
        names = sorted(self.added, key=len, reverse=True)
        self._tag_pattern = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def decode(self, ids: Sequence[int]) -> str:
        """The text that a person reads; special tokens vanish."""
        return self._backend.decode(list(ids), skip_special_tokens=True)

    def piece(self, token_id: int) -> str:
        """The text of one token by itself; of a part of a character it is the replacement sign."""
        text = self._pieces.get(token_id)
        if text is None:
            text = self._pieces[token_id] = self.decode([token_id])
        return text

    def starts(self, ids: Sequence[int]) -> list[int]:
        """Where in ``decode(ids)`` each token begins; one entry a token, never falling.

        Tokens that share one character begin where it does. Not guaranteed to the character for
        bytes that are no text at all.
        """
        starts: list[int] = []
        held: list[int] = []
        length = 0
        for token_id in ids:
            held.append(token_id)
            starts.append(length)
            piece = self.piece(token_id) if len(held) == 1 else self.decode(held)
            if not piece.endswith("\ufffd") or len(held) == _LONGEST_CHARACTER:
                length += len(piece)
                held.clear()
        return starts

    def encode(self, parts: Sequence[Text]) -> list[int]:
        """The ids of the parts written one after the other.

        Equal to encoding the joined text at once, but for tags spelled in parts without ``tags``,
        which stay plain text.
        """
        ids: list[int] = []
        plain: list[str] = []
        for part in parts:
            if not part.tags:
                plain.append(part.text)
                continue
            end = 0
            for match in self._tag_pattern.finditer(part.text):
                ids += self._encode_plain("".join([*plain, part.text[end : match.start()]]))
                plain, end = [], match.end()
                ids.append(self.added[match.group()])
            plain.append(part.text[end:])
        return ids + self._encode_plain("".join(plain))

    def _encode_plain(self, text: str) -> list[int]:
        """The ids of text in which no added token is recognised."""
        if not text:
            return []
        backend = self._backend
        if self._tag_pattern.search(text):
            backend = self._plain = self._plain or _without_added_tokens(backend)
        return backend.encode(text, add_special_tokens=False).ids


def _without_added_tokens(backend: Any) -> Any:
    from tokenizers import Tokenizer

    described = json.loads(backend.to_str())
    described["added_tokens"] = []
    described["post_processor"] = None
    return Tokenizer.from_str(json.dumps(described))
