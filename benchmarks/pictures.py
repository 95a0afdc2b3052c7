"""Real pictures through the path of `air solve`: every one has to end in a stop reason of its own.

    python benchmarks/pictures.py FOLDER                                      # the shipped model
    python benchmarks/pictures.py FOLDER --endpoint http://localhost:8000/v1  # chat completions
    python benchmarks/pictures.py FOLDER --endpoint http://localhost:8000 --processor CHECKPOINT

FOLDER is MATH-Vision's (testmini.jsonl and images/). The third line is vLLM by token ids. Printed:
trajectories by stop reason, cells by status, tokens, and every error of ours. Exit code 1 if there
was one. Answers are not scored here: `air eval mathvision` does that.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

from air_reasoning.api import ENDPOINT_ROLLOUT, SHIPPED_ROLLOUT, TemporaryFolder, ask, opened_engine
from air_reasoning.display import progress
from air_reasoning.engine import Engine, EngineConfig
from air_reasoning.errors import AirError
from air_reasoning.eval.benchmarks.mathvision import load
from air_reasoning.images import open_image
from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.types import Task, Trajectory


async def answered(task: Task, engine: Engine, config: RolloutConfig) -> Trajectory | AirError:
    """One trajectory, as ``air solve`` makes it; an error of ours is returned."""
    question = "".join(part.text for part in task.prompt if part.kind == "text")
    try:
        pictures = [open_image(ref.path) for ref in task.images]
        return await ask(engine, pictures, question, config)
    except AirError as error:
        return error


async def run(options: argparse.Namespace) -> int:
    """All pictures, so many at once."""
    tasks = load(options.folder)[: options.limit]
    endpoint = None
    if options.endpoint:
        api = "vllm" if options.processor else "openai"
        endpoint = EndpointConfig(url=options.endpoint, api=api, processor=options.processor)
    config = ENDPOINT_ROLLOUT if options.endpoint or options.model else SHIPPED_ROLLOUT
    config = config.model_copy(
        update={"temperature": options.temperature}
        | ({"max_new_tokens": options.tokens} if options.tokens else {})
    )
    gate, began = asyncio.Semaphore(options.at_once), time.perf_counter()
    opened = opened_engine(options.model, endpoint, EngineConfig(), TemporaryFolder(), print)
    async with opened as engine:
        with progress("plain", len(tasks), "pictures") as bar:

            async def one(task: Task) -> Trajectory | AirError:
                async with gate:
                    result = await answered(task, engine, config)
                bar.advance()
                return result

            results = await asyncio.gather(*(one(task) for task in tasks))
        counts = dict(getattr(engine.sampler, "counts", {}))
    return report(results, counts, time.perf_counter() - began)


def report(results: list[Trajectory | AirError], counts: dict[str, int], seconds: float) -> int:
    """Print the counts; 1 if something of ours went wrong."""
    done = [result for result in results if isinstance(result, Trajectory)]
    errors = [str(result) for result in results if not isinstance(result, Trajectory)]
    errors += [t.error or str(t.stop) for t in done if t.stop.our_fault]
    cells = Counter(e.status for t in done for e in t.executions)
    sizes = [t.usage.prompt for t in done]
    print(f"{len(results)} pictures in {seconds:.0f} s, {len(errors)} errors of ours")
    print(f"stop reasons: {dict(Counter(str(t.stop) for t in done).most_common())}")
    print(f"cells: {dict(cells.most_common())}; prompt tokens {min(sizes)} to {max(sizes)}")
    print(f"model tokens: {sum(t.usage.model for t in done)}; requests: {counts}")
    print("\n".join(f"ERROR {count} x {what}" for what, count in Counter(errors).most_common(9)))
    return int(bool(errors))


def main() -> None:
    """Run it and say so by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="checkpoint folder; default: the shipped model")
    parser.add_argument("--endpoint", default="", help="address of a server")
    parser.add_argument("--processor", default="", help="its checkpoint: token ids, api vllm")
    parser.add_argument("--tokens", type=int, help="most tokens of a trajectory")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--at-once", type=int, default=32)
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
