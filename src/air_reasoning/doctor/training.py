"""What a training needs beyond this machine: model, tasks, lengths, GPUs, memory. Loads no weights.

`air rl --dry-run` prints these findings, with those of every sampler and sandbox server.
"""

import asyncio
import json
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from air_reasoning.doctor import machine
from air_reasoning.doctor.command import report
from air_reasoning.doctor.engine import engine_findings
from air_reasoning.doctor.finding import Finding, failure, ok, warning
from air_reasoning.errors import AirError, PrerequisiteError
from air_reasoning.images import load_ref
from air_reasoning.models.processor import load_processor, model_folder
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.sandbox.opening import open_pool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import Task

if TYPE_CHECKING:
    from air_reasoning.rl_config import RLConfig

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LOOKED_AT = 200


def check_training(config: "RLConfig", tasks: Sequence[Task], folder: Path) -> None:
    """Print what a training would meet; start nothing.

    Raises:
        PrerequisiteError: something that it needs does not work.
    """
    found = training_findings(config, tasks, folder)
    print(report(found))
    failed = [finding.check.strip() for finding in found if finding.state == "failure"]
    if failed:
        raise PrerequisiteError(f"{', '.join(failed)}: see above; nothing was started")
    print(f"would train {config.model.folder()} on {len(tasks)} tasks for {config.steps} steps")


def training_findings(config: "RLConfig", tasks: Sequence[Task], folder: Path) -> list[Finding]:
    """Model and lengths, GPUs, memory, samplers, sandboxes, disk: each tried or counted."""
    above = next(f for f in [folder.absolute(), *folder.absolute().parents] if f.is_dir())
    return [
        *(_lengths(config, tasks), _devices(config), _memory(config)),
        *_samplers(config.endpoint),
        *_sandboxes(config.engine.sandbox),
        *machine.disk_findings(above),
    ]


def _samplers(config: EndpointConfig) -> list[Finding]:
    """What every vLLM server can do; log-probabilities before bans are of no use to a training."""
    if not config.url:
        return []
    raw = "  log-probabilities"
    found = asyncio.run(engine_findings(config))
    return [replace(f, state="failure") if f.check == raw and f.mend else f for f in found]


def _sandboxes(config: SandboxConfig) -> list[Finding]:
    """This machine's sandbox, or each server by itself: by a cell that ran there."""
    if not config.urls:
        return [machine.sandbox_finding(config)]
    found: list[Finding] = []
    for url in config.urls:
        check = f"sandbox {url}"
        try:
            tier, value = asyncio.run(_one_cell(config.model_copy(update={"urls": (url,)})))
        except AirError as error:
            found.append(failure(check, str(error), "air sandbox serve; check the token"))
            continue
        good = value == "2"
        said = f"tier {tier}, " + ("a cell ran" if good else f"1 + 1 gave {value}")
        found.append(ok(check, said) if good else failure(check, said, "restart that server"))
    return found


async def _one_cell(config: SandboxConfig) -> tuple[str, str | None]:
    async with open_pool(config) as pool, pool.session() as session:
        execution = await session.run("1 + 1")
        return execution.tier, execution.value


def _lengths(config: "RLConfig", tasks: Sequence[Task]) -> Finding:
    """Whether the longest prompt and all that may follow fit into the model's context."""
    engine, check = config.engine, "model and tasks"
    try:
        processor = load_processor(
            config.model.folder(), min_pixels=engine.min_pixels, max_pixels=engine.max_pixels
        )
        renderer = Renderer(processor, TURN_FORMATS[engine.format], engine.system_prompt)
        looked = tasks[:_LOOKED_AT]
        prompts = [renderer.prompt_ids(t, [load_ref(ref) for ref in t.images]) for t in looked]
    except AirError as error:
        return failure(check, str(error), "check model.path and tasks")
    longest = max(len(ids) for ids in prompts)
    room = processor.max_context - longest - config.rollout.max_new_tokens
    found = (
        f"{len(tasks)} tasks; of the first {len(looked)} the longest prompt has {longest} tokens; "
        f"{room} of {processor.max_context} are left for tool results"
    )
    if room < 0:
        mend = "lower rollout.max_new_tokens or engine.max_pixels"
        return failure(check, found, mend)
    return ok(check, found)


def _devices(config: "RLConfig") -> Finding:
    """Whether there is a GPU for each process of this machine."""
    device, check = config.engine.device, "devices"
    if not device.startswith("cuda"):
        return ok(check, f"{config.processes} process(es) on {device}")
    import torch

    here = torch.cuda.device_count()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", config.processes))
    found = f"{config.processes} process(es) on {device}; this machine has {here} GPU(s)"
    if here < beside:
        return warning(check, found, "run it where the GPUs are; nothing was computed here")
    return ok(check, found)


def _memory(config: "RLConfig") -> Finding:
    """Weights, gradients and averages of a process in GiB, by arithmetic; activations not."""
    check = "memory by arithmetic"
    try:
        count = parameters(model_folder(config.model.folder()))
    except (AirError, OSError, ValueError) as error:
        return warning(check, f"unknown: {error}", "give a folder with safetensors")
    width, spread = _BYTES[config.engine.dtype], 1
    if config.sharding == "fsdp2":
        spread = config.processes
    if config.lora.rank:
        held = f"{count * width / 2**30:.1f} GiB of frozen weights a process, adapters beside them"
        return ok(check, f"{count / 1e9:.2f}e9 parameters: {held}; activations come on top")
    trained = 4 * count * width / spread  # weights, gradients and AdamW's two averages
    copy = count * width if config.sharding == "fsdp2" or config.max_staleness else 0
    found = (
        f"{count / 1e9:.2f}e9 parameters: {trained / 2**30:.1f} GiB of weights, gradients and "
        f"averages a process, {copy / 2**30:.1f} of a copy to sample from; activations on top"
    )
    return ok(check, found)


def parameters(folder: Path) -> int:
    """Numbers in all safetensors files of a checkpoint, from their headers alone.

    Raises:
        ValueError: a file is none, or there is none. OSError: it cannot be read.
    """
    total = 0
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        with file.open("rb") as opened:
            (size,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(size, 100_000_000)))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        total += sum(math.prod(shape) for shape in shapes)
    if not files:
        raise ValueError(f"{folder} holds no *.safetensors")
    return total
