"""The side of ``rl.py`` that is TRL's: ``GRPOTrainer`` with our sandbox as its tool.

Its own loop, generation, tool loop and loss; only which token is chosen, and how a call is read out
of the text, come from here, so that the model may write the same text on both sides.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path

import rl_script
import torch
import transformers
import trl.trainer.grpo_trainer as grpo
from datasets import Dataset
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    TrainerCallback,
)

from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig


class Processor(Qwen3VLProcessor):
    """Without the part for videos, which needs torchvision."""

    def __init__(self, image_processor, tokenizer, chat_template):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    @classmethod
    def get_attributes(cls):
        """What it is made of."""
        return ["image_processor", "tokenizer"]

    def __call__(self, *args, **kwargs):
        """Pictures as tensors, as the class that needs torchvision gives them."""
        output = super().__call__(*args, **kwargs)
        for name in ("pixel_values", "image_grid_thw"):
            if name in output:
                output[name] = torch.as_tensor(output[name])
        return output

    def check_argument_for_proper_class(self, argument_name, argument):
        """Whatever it is given fits."""
        return type(argument)


class Script:
    """Chooses the scripted token for every row of each ``generate`` of a step."""

    def __init__(self, tokenizer, options):
        self.rounds = []  # of a step, what each row writes
        n = options.prompts * options.group
        members = [row % options.group for row in range(n)]
        calls = [rl_script.calls_of(m, options.share, options.calls) for m in members]
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        for turn in range(options.calls + 1):
            rows = [row for row in range(n) if calls[row] >= turn]
            texts = [
                rl_script.turns(members[row], calls[row], options.tokens)[turn] for row in rows
            ]
            ids = [[*tokenizer.encode(text, add_special_tokens=False), end] for text in texts]
            if rows:
                self.rounds.append(ids)
        self.next = 0

    def wrap(self, generate):
        """``generate`` with the script of its turn."""

        def scripted(*args, **inputs):
            ids = self.rounds[self.next]
            self.next = (self.next + 1) % len(self.rounds)
            assert len(ids) == len(inputs["input_ids"]), "another row than the script has"
            forced = Forced(ids, inputs["input_ids"].shape[1])
            return generate(*args, logits_processor=LogitsProcessorList([forced]), **inputs)

        return scripted


class Forced(LogitsProcessor):
    """Leaves one token of each row."""

    def __init__(self, ids, start):
        longest = max(map(len, ids))
        self.ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in ids])
        self.start = start

    def __call__(self, input_ids, scores):
        """Scores of which one is finite."""
        place = min(input_ids.shape[1] - self.start, self.ids.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, self.ids[:, place, None], 0.0)


class Sandbox:
    """One fresh session a call, from the pool that our side uses."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.pool = ProcessPool(SandboxConfig(max_sessions=256))
        self.run("0")

    async def _run(self, code):
        async with self.pool.session() as session:
            return (await session.run(code)).stdout

    def run(self, code):
        """What the code printed."""
        return asyncio.run_coroutine_threadsafe(self._run(code), self.loop).result()


def parse_response(tokenizer, ids, prefix=None, tools=None):
    """A cell in the text is a call of the tool ``python``."""
    text = tokenizer.decode(ids)
    message = {"role": "assistant", "content": text}
    if rl_script.OPEN in text:
        code = text.partition(rl_script.OPEN)[2].partition("\n```")[0]
        function = {"name": "python", "arguments": {"code": code}}
        message["tool_calls"] = [{"type": "function", "function": function}]
    return message


class Measured(grpo.GRPOTrainer):
    """Tells how long rolling out took; what is left of the step is the update."""

    def _generate_and_score_completions(self, inputs):
        began, cpu = time.perf_counter(), rl_script.cpu_seconds()
        output = super()._generate_and_score_completions(inputs)
        self.rollout = time.perf_counter() - began, rl_script.cpu_seconds() - cpu
        self.rolled = output
        return output


class OneStepARequest(TrainerCallback):
    """Waits for a line before each step and answers after it."""

    def __init__(self, base):
        self.requests, self.base, self.trainer = rl_script.requests(), base, None

    def on_step_begin(self, args, state, control, **kwargs):
        """Wait."""
        if next(self.requests, "closed") == "closed":
            raise SystemExit(0)
        self.began, self.cpu = time.perf_counter(), rl_script.cpu_seconds()

    def on_step_end(self, args, state, control, **kwargs):
        """Answer."""
        whole, cpu = time.perf_counter() - self.began, rl_script.cpu_seconds() - self.cpu
        rollout, rollout_cpu = self.trainer.rollout
        rolled = self.trainer.rolled
        rl_script.answer(
            {
                "rollout": rollout,
                "update": whole - rollout,
                "rollout_cpu": rollout_cpu,
                "update_cpu": cpu - rollout_cpu,
                "memory": rl_script.peak_bytes() - self.base,
                "trajectories": len(rolled["completion_ids"]),
                "calls": self.trainer.tool.calls,
                "tokens": int((rolled["completion_mask"] * rolled.get("tool_mask", 1)).sum()),
                "tool_tokens": int(
                    (rolled["completion_mask"] * (1 - rolled.get("tool_mask", 1))).sum()
                ),
            }
        )
        self.trainer.tool.calls = 0


def dataset(folder: Path) -> Dataset:
    """The tasks of a task folder as TRL takes them."""
    rows = []
    for line in (folder / "tasks.jsonl").read_text().splitlines():
        task = json.loads(line)
        image = Image.open(folder / task["images"][0]["path"]).convert("RGB")
        parts = [{"type": "image"}, {"type": "text", "text": rl_script.QUESTION}]
        rows.append({"prompt": [{"role": "user", "content": parts}], "images": [image]})
    return Dataset.from_list(rows)


def right(completions, **_):
    """1 for the answer that is right."""
    texts = [completion[-1]["content"] for completion in completions]
    return [float(f"boxed{{{rl_script.ANSWERS[0]}}}" in str(text)) for text in texts]


def main() -> None:
    """One step for every line on stdin."""
    parser = argparse.ArgumentParser()
    for name, kind in (("model", Path), ("tasks", Path), ("prompts", int), ("group", int)):
        parser.add_argument(f"--{name}", type=kind)
    for name, kind in (("share", float), ("calls", int), ("tokens", int)):
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--freeze", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    base = rl_script.resident_bytes()

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.response_schema = {"type": "object"}  # unused: see parse_response
    processor = Processor(
        AutoImageProcessor.from_pretrained(options.model), tokenizer, tokenizer.chat_template
    )
    model = Qwen3VLForConditionalGeneration.from_pretrained(
        options.model, dtype=torch.float32,
        attn_implementation="eager" if options.bf16 else "sdpa",
    )  # fmt: skip
    if options.freeze:
        model.model.visual.requires_grad_(False)
    grpo.parse_response = parse_response
    # They look for templates with JSON calls; ours keeps the call in the text.
    grpo.supports_tool_calling = grpo.is_chat_template_prefix_preserving = lambda _: True
    sandbox = Sandbox()

    def python(code: str) -> str:
        """Run Python.

        Args:
            code: what to run.
        """
        python.calls += 1
        return f"<interpreter>{sandbox.run(code)}</interpreter>"

    python.calls = 0
    waiting = OneStepARequest(base)
    n = options.prompts * options.group
    trainer = Measured(
        model=model,
        reward_funcs=right,
        args=grpo.GRPOConfig(
            output_dir=tempfile.mkdtemp(), report_to=[], use_cpu=True, bf16=options.bf16,
            per_device_train_batch_size=n, num_generations=options.group, max_steps=1000,
            gradient_checkpointing=False, learning_rate=4e-4, max_completion_length=900,
            logging_steps=1000, save_strategy="no", disable_tqdm=True, optim="adamw_torch_fused",
            dataloader_num_workers=0,
        ),
        train_dataset=dataset(options.tasks),
        processing_class=processor,
        tools=[python] if options.share > 0 else None,
        callbacks=[waiting],
    )  # fmt: skip
    trainer.tool, waiting.trainer = python, trainer
    trainer.model.generate = Script(tokenizer, options).wrap(trainer.model.generate)
    trainer.train()


if __name__ == "__main__":
    main()
