"""Pre-training the small base model: it learns to read charts, then to look values up.

Three helpers that the tiny model needs and large ones bring along: a letter head on the vision
tower (thrown away afterwards), location tokens before each transcribed piece, and scattered text
early on.
Weights are trained in bf16 with fp32 masters; Muon for matrices, AdamW for the rest.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.multiprocessing.spawn import spawn

from air_reasoning.models.tiny import IMAGE_TOKENS, MERGE, PATCH, build_tiny, build_tokenizer
from air_reasoning.models.vision_batch import BatchedVision, merge_order, patches_of
from air_reasoning.tasks.questions import KINDS, ORDINALS
from air_reasoning.tasks.reading import (
    CHARACTERS,
    SIDE,
    WORD_POSITIONS,
    ReadingBatches,
    write_shard,
)
from air_reasoning.tasks.tables import WORDS

LETTER_CLASSES = 1 + len(CHARACTERS)
IMAGE_START = 4  # <|im_start|> user \n <|vision_start|>


def task_tokenizer() -> Any:
    """The tokenizer of the shipped models: words of the tasks and of their programs."""
    words = [
        *WORDS, *ORDINALS, "user", "assistant", "system", "rect", "tri", "circle", "print", "round",
        "statistics", "import", "pstdev", "math", "hypot", "Error", "Name", "Syntax",
    ]  # fmt: skip
    phrases = [phrase for kind in KINDS for phrase in kind.ask]
    return build_tokenizer([*phrases * 30, "Read."], words)


class Reader(nn.Module):
    """The model under training, with the letter head: one batched forward over equal pictures."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.letters = nn.Linear(
            model.config.vision_config.hidden_size, 2 * (LETTER_CLASSES + WORD_POSITIONS)
        )
        self.vision = BatchedVision(model.model.visual, SIDE)
        self.order = merge_order(SIDE, MERGE)

    def positions(self, length: int) -> Tensor:
        """M-RoPE positions [3, length] of a prompt whose picture stands at ``IMAGE_START``."""
        side = SIDE // MERGE
        out = torch.zeros(3, length, dtype=torch.long)
        out[:, :IMAGE_START] = torch.arange(IMAGE_START)
        image = slice(IMAGE_START, IMAGE_START + IMAGE_TOKENS)
        out[:, image] = IMAGE_START
        out[1, image] += torch.arange(side).repeat_interleave(side)
        out[2, image] += torch.arange(side).repeat(side)
        rest = IMAGE_START + IMAGE_TOKENS
        out[:, rest:] = torch.arange(length - rest) + IMAGE_START + side
        return out

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, float]]:
        """(loss of the text, loss of the letters, figures to show)."""
        hidden, features = self.vision(patches_of(batch["pixels"], PATCH, MERGE))
        letters, letter_accuracy = self._letter_loss(hidden, batch["letters"], batch["places"])
        ids, weights = batch["ids"], batch["weights"]
        embedded = self.model.get_input_embeddings()(ids[:, :-1])
        rest = IMAGE_START + IMAGE_TOKENS
        embedded = torch.cat([embedded[:, :IMAGE_START], features, embedded[:, rest:]], 1)
        positions = self.positions(embedded.shape[1])[:, None].expand(3, len(ids), -1)
        text_model = self.model.model.language_model
        states = text_model(
            inputs_embeds=embedded, position_ids=positions, use_cache=False
        ).last_hidden_state
        chosen = weights[:, 1:] > 0
        logits = self.model.lm_head(states[chosen]).float()
        losses = F.cross_entropy(logits, ids[:, 1:][chosen], reduction="none")
        weight = weights[:, 1:][chosen]
        figures = {"letters": letter_accuracy, "text": losses.mean().item()}
        return (losses * weight).sum() / weight.sum(), letters, figures

    def _letter_loss(self, hidden: Tensor, letters: Tensor, places: Tensor) -> tuple[Tensor, float]:
        """Which letter is where; one in eight empty half-patches takes part."""
        batch = hidden.shape[0]
        target = letters.view(batch, -1, 2)[:, self.order].reshape(-1)
        place = places.view(batch, -1, 2)[:, self.order].reshape(-1)
        logits = self.letters(hidden).view(-1, LETTER_CLASSES + WORD_POSITIONS)
        full = target > 0
        chosen = full | (torch.rand(target.shape) < 0.12)
        picked = logits[chosen].float()
        weight = torch.where(full[chosen], 1.0, 0.5)
        losses = F.cross_entropy(picked[:, :LETTER_CLASSES], target[chosen], reduction="none")
        loss = (losses * weight).sum() / weight.sum()
        loss = loss + 0.5 * F.cross_entropy(picked[:, LETTER_CLASSES:], place[chosen])
        right = picked[:, :LETTER_CLASSES].argmax(-1) == target[chosen]
        return loss, right[full[chosen]].float().mean().item()


@dataclass(slots=True)
class MasterWeights:
    """fp32 masters of bf16 parameters: the step happens here, the copies compute."""

    live: list[nn.Parameter]
    master: list[nn.Parameter]
    optimizers: list[torch.optim.Optimizer]

    @classmethod
    def of(cls, module: nn.Module, lr: float) -> "MasterWeights":
        """Muon for matrices of the body; AdamW for embeddings, norms, biases, the letter head."""
        named = list(module.named_parameters())
        master = [nn.Parameter(p.detach().clone().float()) for _, p in named]
        module.to(torch.bfloat16)
        matrix = [
            p.ndim == 2 and "embed" not in n and "lm_head" not in n and not n.startswith("letters")
            for n, p in named
        ]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [p for p, m in zip(master, matrix, strict=True) if m],
                lr=lr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(
                [p for p, m in zip(master, matrix, strict=True) if not m],
                lr=lr, betas=(0.9, 0.95), weight_decay=0.0,
            ),
        ]  # fmt: skip
        return cls([p for _, p in module.named_parameters()], master, optimizers)

    def step(self, lr: float) -> None:
        """Average over the processes, clip to norm 1, step, copy back, clear."""
        for master, live in zip(self.master, self.live, strict=True):
            master.grad = torch.zeros_like(master) if live.grad is None else live.grad.float()
            live.grad = None
        if dist.is_initialized():
            _average([master.grad for master in self.master if master.grad is not None])
        torch.nn.utils.clip_grad_norm_(self.master, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        self.copy_back()

    @torch.no_grad()
    def copy_back(self) -> None:
        """Masters into the live parameters, rounded to bf16."""
        live, master = [p.data for p in self.live], [p.data for p in self.master]
        torch._foreach_copy_(live, master)  # pyright: ignore[reportPrivateImportUsage]


def _average(grads: list[Tensor]) -> None:
    """One all-reduce over all gradients, in place."""
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([g.numel() for g in grads])
    averaged = [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)]
    torch._foreach_copy_(grads, averaged)  # pyright: ignore[reportPrivateImportUsage]


def learning_rate(
    step: int, steps: int, peak: float, warmup: int = 120, decay: float = 0.4
) -> float:
    """Warm-up, constant, then linear to 2 % over the last ``decay`` of the run."""
    left = (steps - step) / steps
    return peak * min(1.0, (step + 1) / warmup) * max(0.02, min(1.0, left / decay))


@dataclass(kw_only=True, slots=True, frozen=True)
class ReadingRun:
    """Settings of the reading stage; ``batch`` is the sum over ``processes``."""

    folder: Path
    seed: int = 0
    steps: int = 5500
    batch: int = 32
    processes: int = 2
    lr: float = 2.5e-3
    shards: int = 6
    shard_size: int = 2500
    save_every: int = 250


def train_reader(run: ReadingRun) -> None:
    """Train to ``folder/state.pt``; interrupted at any time, the same call goes on."""
    shards = run.folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    context = mp.get_context("spawn")
    artist = context.Process(target=_draw_shards, args=(run,), daemon=True)
    artist.start()
    store = run.folder / f"rendezvous-{os.getpid()}"
    try:
        spawn(_train_rank, args=(run, str(store)), nprocs=run.processes)
    finally:
        artist.terminate()
        store.unlink(missing_ok=True)


def _draw_shards(run: ReadingRun) -> None:
    for shard in range(run.shards):
        path = run.folder / "shards" / f"shard-{shard:03d}.pickle"
        write_shard(path, run.seed, shard, run.shard_size)


def _train_rank(rank: int, run: ReadingRun, store: str) -> None:
    torch.set_num_threads(1)
    if run.processes > 1:
        _pin(rank)
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=run.processes
        )
    tokenizer = task_tokenizer()
    model = build_tiny(tokenizer, seed=run.seed)
    model.set_attn_implementation("eager")  # faster than sdpa in bf16 training on a CPU
    torch.manual_seed(run.seed)
    reader = Reader(model)
    weights = MasterWeights.of(reader, run.lr)
    start = _restore(run, weights)
    batches: Any = ReadingBatches(
        tokenizer, seed=f"{run.seed}/{rank}", steps=run.steps, batch=run.batch // run.processes,
        shard_folder=run.folder / "shards", shards=run.shards,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, sampler=range(start, run.steps), num_workers=1,
        prefetch_factor=16, collate_fn=_to_tensors,
    )  # fmt: skip
    smooth: dict[str, float] = {}
    figures: dict[str, float]
    began = time.monotonic()
    for step, batch in enumerate(loader, start):
        torch.manual_seed(run.seed + step * run.processes + rank)
        text, letters, figures = reader(batch)
        (text + letters).backward()
        weights.step(learning_rate(step, run.steps, run.lr))
        for name, value in figures.items():
            smooth[name] = 0.97 * smooth.get(name, value) + 0.03 * value
        if rank == 0 and (step + 1) % 50 == 0:
            rate = (step + 1 - start) * run.batch / (time.monotonic() - began)
            _log(run.folder, step + 1, rate, smooth)
        if rank == 0 and ((step + 1) % run.save_every == 0 or step + 1 == run.steps):
            _save(run, weights, step + 1)


def _pin(rank: int) -> None:
    """One core a process: the scheduler puts processes that await each other on the same core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})


def _to_tensors(batch: Any) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _log(folder: Path, step: int, rate: float, figures: dict[str, float]) -> None:
    row = {
        "step": step,
        "samples_per_s": round(rate, 1),
        **{k: round(v, 4) for k, v in figures.items()},
    }
    with (folder / "reading.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def _save(run: ReadingRun, weights: MasterWeights, step: int) -> None:
    """Atomic: a kill leaves the previous state."""
    state = {
        "step": step,
        "master": [p.detach() for p in weights.master],
        "optimizers": [o.state_dict() for o in weights.optimizers],
    }
    temporary = run.folder / "state.tmp"
    torch.save(state, temporary)
    temporary.replace(run.folder / "state.pt")


@torch.no_grad()
def _restore(run: ReadingRun, weights: MasterWeights) -> int:
    path = run.folder / "state.pt"
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        start = state["step"]
        for master, saved in zip(weights.master, state["master"], strict=True):
            master.copy_(saved)
        for optimizer, saved in zip(weights.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    weights.copy_back()
    return start


def reader_model(folder: Path, seed: int = 0) -> tuple[Any, Any]:
    """(model in fp32, tokenizer) of a reading run's newest state, the letter head left behind."""
    tokenizer = task_tokenizer()
    reader = Reader(build_tiny(tokenizer, seed=seed))
    state = torch.load(folder / "state.pt", weights_only=True)
    with torch.no_grad():
        for parameter, saved in zip(reader.parameters(), state["master"], strict=True):
            parameter.copy_(saved)
    return reader.model, tokenizer
