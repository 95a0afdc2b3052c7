"""The side of ``rl.py`` that is ours: ``air rl``'s own roll-out and update, one step a request."""

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path

import rl_script
import torch
import transformers
from PIL import Image  # noqa: F401 - loaded before memory is counted
from transformers import AutoImageProcessor, Qwen3VLForConditionalGeneration  # noqa: F401

from air_reasoning.config import load_config
from air_reasoning.engine import open_engine
from air_reasoning.learner import open_learner
from air_reasoning.models import running_batch
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.parallel import Parallel
from air_reasoning.policy_update import update
from air_reasoning.train_rl import RLConfig, roll_out, training_tasks
from air_reasoning.training_samples import training_samples


def write_by_script(tokenizer, options: argparse.Namespace) -> None:
    """Let every row choose the next token of its script, whatever the logits say."""
    encode = TokenText(tokenizer).encode
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    scripts: dict[int, list[list[int]]] = {}
    for member in range(options.group):
        calls = rl_script.calls_of(member, options.share, options.calls)
        texts = rl_script.turns(member, calls, options.tokens)
        scripts[member] = [encode([Text(text, tags=True)]) for text in texts]
        scripts[member][-1].append(end)
    plain = running_batch.RunningBatch._logits
    seen: dict[str, list[int]] = {}  # trajectory -> length of the request of each of its turns

    def token(row) -> int:
        lengths = seen.setdefault(row.trajectory_id, [])
        if len(row.turn.request.token_ids) not in lengths:
            lengths.append(len(row.turn.request.token_ids))
        member = int(row.trajectory_id.rpartition("/")[2])
        return scripts[member][len(lengths) - 1][len(row.turn.ids)]

    def forced(self, plan):
        logits = plain(self, plan)
        ids = torch.tensor([token(self._rows[i]) for i in plan.rows])
        return logits.fill_(-torch.inf).scatter_(1, ids[:, None], 0.0)

    running_batch.RunningBatch._logits = forced


async def serve(options: argparse.Namespace) -> None:
    """Set up once, then a step a request."""
    base = rl_script.resident_bytes()
    config = load_config(
        RLConfig,
        preset={
            "model": {"path": str(options.model)},
            "tasks": str(options.tasks),
            "prompts": options.prompts,
            "group_size": options.group,
            "n_forbid": 0,
            "steps": 1000,
            "bf16": options.bf16,
            "attention": "eager" if options.bf16 else "sdpa",
            "reward": {"mode": "outcome"},
            "anchor": {"weight": 0},
            "optimizer": {"freeze": ["model.visual"] if options.freeze else []},
            "rollout": {"max_turns": options.calls + 1, "max_new_tokens": 900},
        },
    ).value
    tasks = training_tasks(config)
    learner = open_learner(config, Parallel())
    write_by_script(learner.loaded.tokenizer, options)
    position = 0
    with learner.remember_pictures():
        async with open_engine(learner.loaded, config.engine) as engine:
            make = partial(roll_out, tasks, engine, config, Parallel())
            for step, _ in enumerate(rl_script.requests()):
                began, cpu = time.perf_counter(), rl_script.cpu_seconds()
                rolled = await make(step, position)
                position = rolled.position
                rolled_out, cpu_rolled = time.perf_counter(), rl_script.cpu_seconds()
                samples, _ = training_samples(rolled.informative, config.samples)
                moved = update(learner, samples, rolled.tasks, config, step)
                await engine.sampler.load_weights(learner.loaded.model, step + 1)
                ended, cpu_ended = time.perf_counter(), rl_script.cpu_seconds()
                made = [t for scored in rolled.groups for t in scored.group.trajectories]
                rl_script.answer(
                    {
                        "rollout": rolled_out - began,
                        "update": ended - rolled_out,
                        "rollout_cpu": cpu_rolled - cpu,
                        "update_cpu": cpu_ended - cpu_rolled,
                        "memory": rl_script.peak_bytes() - base,
                        "trajectories": len(made),
                        "calls": sum(len(t.executions) for t in made),
                        "failed": sum(e.status != "ok" for t in made for e in t.executions),
                        "tokens": sum(t.usage.model for t in made),
                        "tool_tokens": sum(t.usage.output for t in made),
                        "trained": len(samples),
                        "grad_norm": moved["optim/grad_norm"],
                    }
                )


def main() -> None:
    """One step for every line on stdin."""
    parser = argparse.ArgumentParser()
    for name, kind in (("model", Path), ("tasks", Path), ("prompts", int), ("group", int)):
        parser.add_argument(f"--{name}", type=kind)
    for name, kind in (("share", float), ("calls", int), ("tokens", int)):
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--freeze", action="store_true")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
