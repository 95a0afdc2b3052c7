"""What each layer of the jail answers on this host, asked for in a process of its own."""

import json
import subprocess
import tempfile

from air_reasoning.errors import SandboxError
from air_reasoning.sandbox.parent import CHILD_SCRIPT, interpreter
from air_reasoning.sandbox.settings import SandboxConfig

PROBE_S = 60.0


def probe_host(config: SandboxConfig) -> dict[str, str]:
    """Layer or tier -> why it cannot be had; empty if it can.

    Raises:
        SandboxError: the interpreter of ``config.packages`` cannot be run, or the probe fails.
    """
    python = interpreter(config)
    with tempfile.TemporaryDirectory(prefix="air-sandbox-") as folder:
        try:
            done = subprocess.run(
                [python, "-P", "-s", str(CHILD_SCRIPT), "--probe", folder],
                env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(
                f"sandbox.packages={python}: cannot probe with it ({error})"
            ) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise SandboxError(f"the probe of the sandbox failed: {lines[-1]}")
    return json.loads(done.stdout)
