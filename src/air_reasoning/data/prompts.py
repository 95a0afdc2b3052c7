"""The prompts of the data commands: jinja2 files, shipped in ``templates``, replaceable one by one.

    prompts = Prompts.load(Path("my-prompts"))     # thought.jinja there wins over the shipped one
    prompts.render("thought", task)

What a prompt says decides what is bought, so its content is part of a run's fingerprint, with the
version that its first line names (``{# version: mine-3 #}``).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError, TemplateSyntaxError

from air_reasoning.errors import ConfigError, DataError
from air_reasoning.files import atomic_write
from air_reasoning.turn_format import AIR, TurnFormat, render_code
from air_reasoning.types import Task

SHIPPED = Path(__file__).with_name("templates")
NAMES = ("thought", "rewrite", "judge")
_VERSION = re.compile(r"\A\{#-?\s*version:\s*(.+?)\s*-?#\}")
_ENVIRONMENT = Environment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)


@dataclass(kw_only=True, slots=True, frozen=True)
class Prompts:
    """Sources by name, where each comes from, and the tags that they speak of."""

    sources: dict[str, str]
    files: dict[str, Path]
    form: TurnFormat = AIR

    @classmethod
    def load(cls, folder: Path | None = None, form: TurnFormat = AIR) -> "Prompts":
        """The shipped prompts, with those of ``folder`` (``NAME.jinja``) in their place.

        Raises:
            ConfigError: no such folder, no prompt in it, or one that is no jinja2 template.
        """
        files = {name: SHIPPED / f"{name}.jinja" for name in NAMES}
        if folder is not None:
            own = {name: folder / f"{name}.jinja" for name in NAMES}
            given = {name: file for name, file in own.items() if file.is_file()}
            if not given:
                wanted = ", ".join(f"{name}.jinja" for name in NAMES)
                raise ConfigError(
                    f"prompts: {folder} holds none of {wanted}; `air data prompts {folder}` "
                    "writes the shipped ones there"
                )
            files |= given
        sources = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
        for name, source in sources.items():
            try:
                _ENVIRONMENT.parse(source)
            except TemplateSyntaxError as error:
                raise ConfigError(f"{files[name]}:{error.lineno}: {error.message}") from None
        return cls(sources=sources, files=files, form=form)

    def identity(self, *names: str) -> dict[str, str]:
        """``prompt.NAME`` -> version and content hash, for the fingerprint.

        Identity is content: the same text in another folder is the same prompt.
        """
        return {f"prompt.{name}": self._identity(name) for name in names}

    def _identity(self, name: str) -> str:
        version = _VERSION.match(self.sources[name])
        digest = hashlib.sha256(self.sources[name].encode()).hexdigest()[:12]
        return f"{version[1] if version else 'unnamed'} {digest}"

    def render(self, name: str, task: Task, **more: Any) -> str:
        """The text of one request.

        Known in every prompt: ``question``, ``choices``, ``letters``, ``pictures`` (how many),
        ``precision`` (digits or none), ``kind`` (of answer), ``meta``, and the tags ``think``,
        ``code``, ``output``, ``answer`` as pairs, ``code_example``. ``rewrite`` also gets
        ``thought``, ``judge`` also ``gold``.

        Raises:
            DataError: the template asks for something that is not known; names file and word.
        """
        form = self.form
        known = {
            "question": question_text(task), "choices": task.choices,
            "letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "pictures": len(task.images),
            "precision": task.answer.precision, "kind": task.answer.type, "meta": task.meta,
            "think": form.think, "code": form.code, "output": form.output, "answer": form.answer,
            "code_example": render_code("total = 12.5 * 9.1\nprint(total)", form),
        }  # fmt: skip
        try:
            return _template(self.sources[name]).render(known | more).strip()
        except TemplateError as error:
            raise DataError(f"{self.files[name]}: {error.message} (task {task.id})") from None


@cache
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


def question_text(task: Task) -> str:
    """The question; where it stands between pictures, each is named in its place.

    >>> from air_reasoning.types import Answer, Part
    >>> parts = [Part(kind="image"), Part(kind="text", text="How many?")]
    >>> question_text(Task(id="1", prompt=parts, images=[], answer=Answer(value="3")))
    'How many?'
    """
    parts = list(task.prompt)
    while parts and parts[0].kind == "image":  # all pictures go before the text anyway
        parts.pop(0)
    return "".join(p.text if p.kind == "text" else f"[picture {p.image + 1}]" for p in parts)


def write_prompts(folder: Path) -> list[Path]:
    """Copy the shipped prompts to ``folder``, to be changed there.

    Raises:
        ConfigError: one of them is there already. DataError: the folder cannot be written.
    """
    files = [folder / f"{name}.jinja" for name in NAMES]
    if there := [file for file in files if file.exists()]:
        raise ConfigError(f"{there[0]}: is there already; remove it or name another folder")
    for name, file in zip(NAMES, files, strict=True):
        atomic_write(file, (SHIPPED / f"{name}.jinja").read_bytes())
    return files
