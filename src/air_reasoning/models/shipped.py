"""Where the models that come with the package are."""

from pathlib import Path

from air_reasoning.config import Config
from air_reasoning.errors import PrerequisiteError

WEIGHTS = Path(__file__).parents[1] / "weights"


class ModelConfig(Config):
    """Which checkpoint."""

    path: Path | None = None
    """Folder of a Qwen-VL checkpoint; None: the shipped cold start."""
    name: str = ""
    """Its name in tables; empty: the folder's."""

    def folder(self) -> Path:
        """The checkpoint folder. Raises PrerequisiteError if none is named and none is shipped."""
        return self.path or shipped_model()


def shipped_model(name: str = "cold_start") -> Path:
    """The folder of a shipped checkpoint: ``base`` or ``cold_start``.

    Raises:
        PrerequisiteError: this copy of the package was made without it.
    """
    folder = WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise PrerequisiteError(
            f"{folder}: the shipped model is not there; build it with `make base-model`, or name a "
            "checkpoint folder with -o model.path=FOLDER"
        )
    return folder
