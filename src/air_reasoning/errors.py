"""Our failures, by name. What the *model* does wrong is data and never raises one of these.

Each message says which file, key or line, what was expected, and how to mend it. The command line
turns the classes into exit codes: see ``exit_code``.
"""


class AirError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1
    resumable = False
    """Whether the run it ends counts as interrupted, not as failed."""


class ConfigError(AirError):
    """A setting is unknown, malformed or contradicts another; nothing was started."""

    exit_code = 2


class DataError(AirError):
    """A task file, picture, run folder or checkpoint is missing, broken or of the wrong kind."""

    exit_code = 2


class SandboxError(AirError):
    """The sandbox itself failed (it could not start, or cannot be used here).

    A cell that raises, loops or dies is not an error: it is an ``Execution`` with that status.
    """


class SandboxRefused(SandboxError):
    """No isolation can be had on this host, or not the one asked for; nothing was run."""

    exit_code = 4


class SamplerError(AirError):
    """The engine that samples failed; the trajectory is dropped and counted, never scored."""


class BudgetReached(AirError):
    """A cap on what may be spent was reached; the state is saved, the same command goes on."""

    exit_code = 3
    resumable = True


class AlarmError(AirError):
    """A figure of a training was out of its band for too long; its state is saved."""

    exit_code = 3


class PrerequisiteError(AirError):
    """Something that has to be installed or built first is not there."""

    exit_code = 4
