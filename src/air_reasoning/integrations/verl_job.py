"""`air export verl-job`: one folder with all that verl needs to train as `air rl` would.

train.parquet (val.parquet)  tasks as rows, pictures inside
air.yaml                     our settings, for our classes
agent.yaml                   which classes of ours verl loads
verl.yaml                    settings of verl, over its own
launch.sh                    starts it on the head of a Ray cluster

What verl cannot do is refused by name here, never left out silently. verl itself is not loaded.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.files import atomic_write
from air_reasoning.images import load_ref
from air_reasoning.integrations.verl_rows import AGENT, write_rows
from air_reasoning.models.processor import Processor, load_processor
from air_reasoning.renderer import Renderer
from air_reasoning.rl_config import RLConfig
from air_reasoning.task_files import read_tasks
from air_reasoning.train_rl import training_tasks
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import Task

VERL = "0.9.1"
"""The one version that ``integrations/verl.py`` is written for."""
_MODULE = "air_reasoning.integrations.verl"
_LOSSES = {"ppo": "vanilla", "gspo": "gspo", "cispo": "cispo"}


class VerlConfig(Config):
    """How verl spreads the work; everything else follows from the settings of `air rl`."""

    nodes: int = Field(default=1, ge=1)
    """Machines that train and, unless rollout_nodes is set, sample by turns."""
    gpus_per_node: int = Field(default=8, ge=1)
    """GPUs of each."""
    rollout_nodes: int = Field(default=0, ge=0)
    """Further machines that only sample; needs max_staleness above 0."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that one vLLM server takes."""
    gpu_memory: float = Field(default=0.5, gt=0, lt=1)
    """Share of a GPU's memory that vLLM takes."""
    agent_workers: int = Field(default=8, ge=1)
    """Processes that run the turn loop, spread over the nodes; engine.sandbox counts for each."""
    prompt_tokens: int = Field(default=4096, ge=1)
    """Longest prompt, pictures included; a task with a longer one is refused."""
    tool_tokens: int = Field(default=4096, ge=1)
    """Tokens that all tool results of a trajectory may take, pictures included, beside the
    rollout.max_new_tokens that the model writes."""
    offload: bool = False
    """Keep weights and averages in host memory while vLLM samples."""
    val_tasks: Path | None = None
    """Tasks for verl's own validation; None: none."""
    test_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    logger: tuple[Literal["console", "wandb", "tensorboard", "file", "trackio"], ...] = ("console",)
    """Where verl writes its figures."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further settings of verl by their dotted names; they win over what is derived."""


class VerlJobConfig(RLConfig):
    """The settings of `air rl`, and how verl spreads them."""

    verl: VerlConfig = VerlConfig()
    """Nodes, GPUs and lengths."""


def export_verl_job(resolved: Resolved[VerlJobConfig], options: RunOptions) -> None:
    """Write the folder, or with ``dry_run`` only check everything that goes into it.

    Raises:
        ConfigError: a setting that verl has no counterpart of, or the folder is not empty.
        DataError: broken tasks, fewer than a step's, or a prompt that is too long.
    """
    config, folder = resolved.value, options.run_dir.absolute()
    processor = load_processor(
        config.model.folder(),
        min_pixels=config.engine.min_pixels,
        max_pixels=config.engine.max_pixels,
    )
    settings = verl_settings(config, folder, picture_limits(processor))
    tasks = training_tasks(config, options.limit)
    val = read_tasks(config.verl.val_tasks) if config.verl.val_tasks else []
    if len(tasks) < config.prompts:
        raise DataError(f"{config.tasks}: {len(tasks)} tasks; a step takes {config.prompts}")
    longest = longest_prompt([*tasks, *val], config, processor)
    print(f"{len(tasks)} tasks, {len(val)} for validation; longest prompt {longest} tokens")
    if options.dry_run:
        return
    if folder.exists() and any(folder.iterdir()) and not options.overwrite:
        raise ConfigError(f"{folder}: is not empty; name another folder, or use --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    system = config.engine.system_prompt
    write_rows(folder / "train.parquet", tasks, "train", system)
    if val:
        write_rows(folder / "val.parquet", val, "val", system)
    ours = config.model_dump(mode="json", exclude={"verl"})
    agent = {"name": AGENT, "_target_": f"{_MODULE}.AirAgentLoop"}
    files = {
        "air.yaml": yaml.safe_dump(ours, sort_keys=False, allow_unicode=True),
        "agent.yaml": yaml.safe_dump([agent | {"settings": str(folder / "air.yaml")}]),
        "verl.yaml": yaml.safe_dump(_for_hydra(settings), sort_keys=False, allow_unicode=True),
        "launch.sh": _LAUNCH.format(version=VERL, folder=shlex.quote(str(folder))),
    }
    for name, text in files.items():
        atomic_write(folder / name, text)
    (folder / "launch.sh").chmod(0o755)
    print(f"wrote {folder}; start it with: sh {shlex.quote(str(folder / 'launch.sh'))}")


def picture_limits(processor: Processor) -> dict[str, int]:
    """Smallest and largest picture in pixels: processors take both or, silently, neither."""
    size = dict(processor.image_processor.size) if processor.pictures == "patches" else {}
    return {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]} if size else {}


def longest_prompt(tasks: Sequence[Task], config: VerlJobConfig, processor: Processor) -> int:
    """Tokens of the longest prompt. Raises DataError: longer than verl.prompt_tokens."""
    engine, longest = config.engine, 0
    renderer = Renderer(processor, TURN_FORMATS[engine.format], engine.system_prompt)
    for task in tasks:
        ids = renderer.prompt_ids(task, [load_ref(ref) for ref in task.images])
        longest = max(longest, len(ids))
        if len(ids) > config.verl.prompt_tokens:
            raise DataError(
                f"task {task.id}: its prompt has {len(ids)} tokens; raise verl.prompt_tokens "
                f"({config.verl.prompt_tokens}) or lower engine.max_pixels"
            )
    return longest


def verl_settings(config: VerlJobConfig, folder: Path, pixels: dict[str, int]) -> dict[str, Any]:
    """Settings of verl by dotted names: what differs from its own defaults.

    ``pixels``: limits of a picture, so that verl, its servers and we see it in one size.

    Raises:
        ConfigError: a setting of ours has no counterpart there; the message names it.
    """
    _refuse_what_verl_lacks(config)
    files = {"data.train_files": str(folder / "train.parquet")}
    val = "val.parquet" if config.verl.val_tasks else "train.parquet"
    files |= {"data.val_files": str(folder / val)}
    settings = files | _data(config, pixels) | _actor(config) | _rollout(config, folder)
    return settings | _algorithm(config) | _trainer(config, folder) | config.verl.options


def _refuse_what_verl_lacks(config: VerlJobConfig) -> None:
    optimizer, updates = config.optimizer, config.updates
    falls = optimizer.decay_share == 1 and optimizer.decay == "cosine"
    lacking = {
        "anchor.weight: verl has no reading anchor; set 0": config.anchor.weight > 0,
        "optimizer.kind: verl has adamw only": optimizer.kind != "adamw",
        "optimizer.decay_share: verl falls over all steps, by a cosine, or never; set 0": not (
            optimizer.decay_share == 0 or falls
        ),
        "optimizer.freeze: verl freezes the vision tower or nothing; set [model.visual] or []": (
            optimizer.freeze not in ((), ("model.visual",))
        ),
        "rollout.code_temperature: verl computes with one temperature; remove it": (
            config.rollout.code_temperature is not None
        ),
        f"updates: prompts ({config.prompts}) must be a multiple of it ({updates})": (
            config.prompts % updates != 0
        ),
        "endpoint.url: verl starts its own servers; remove it": bool(config.endpoint.url),
        "verl.rollout_nodes: sampling beside training needs max_staleness above 0": (
            config.verl.rollout_nodes > 0 and config.max_staleness == 0
        ),
        "samples.drop_constant: must be true with refill above 0": (
            config.refill > 0 and not config.samples.drop_constant
        ),
    }
    wrong = [problem for problem, so in lacking.items() if so]
    if wrong:
        raise ConfigError("; ".join(wrong))


def _data(config: VerlJobConfig, pixels: dict[str, int]) -> dict[str, Any]:
    return {
        "data.train_batch_size": config.prompts,
        "data.max_prompt_length": config.verl.prompt_tokens,
        "data.max_response_length": config.rollout.max_new_tokens + config.verl.tool_tokens,
        "data.seed": config.seed,
        "data.mm_processor_kwargs": pixels,
        "data.dataloader_num_workers": 1,
        # verl wants a validation file; without tasks for it one row is named and never read.
        "data.val_max_samples": -1 if config.verl.val_tasks else 1,
    }


def _actor(config: VerlJobConfig) -> dict[str, Any]:
    actor, model = "actor_rollout_ref.actor", "actor_rollout_ref.model"
    optimizer, loss, lora, verl = config.optimizer, config.loss, config.lora, config.verl
    packed = config.attention == "flash_attention_2"
    path = config.model.folder()
    settings: dict[str, Any] = {
        f"{model}.path": str(path.absolute() if path.is_dir() else path),
        f"{model}.use_remove_padding": packed,
        f"{model}.enable_gradient_checkpointing": config.gradient_checkpointing,
        f"{actor}.strategy": "fsdp2",
        f"{actor}.freeze_vision_tower": bool(optimizer.freeze),
        f"{actor}.ppo_mini_batch_size": config.prompts // config.updates,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.ppo_max_token_len_per_gpu": _row_tokens(config),
        f"{actor}.policy_loss.loss_mode": _LOSSES[loss.kind],
        f"{actor}.clip_ratio_low": 1.0 if loss.kind == "cispo" else loss.clip_low,
        f"{actor}.clip_ratio_high": loss.clip_high,
        f"{actor}.clip_ratio_c": 1e6,  # ours has no second clip
        f"{actor}.loss_agg_mode": "token-mean",
        f"{actor}.entropy_coeff": loss.entropy_coef,
        f"{actor}.use_kl_loss": loss.kl_coef > 0,
        f"{actor}.kl_loss_coef": loss.kl_coef,
        f"{actor}.grad_clip": optimizer.max_grad_norm,
        f"{actor}.optim.lr": optimizer.lr,
        f"{actor}.optim.betas": list(optimizer.betas),
        f"{actor}.optim.weight_decay": optimizer.weight_decay,
        f"{actor}.optim.clip_grad": optimizer.max_grad_norm,
        f"{actor}.optim.lr_warmup_steps": optimizer.warmup_steps,
        f"{actor}.optim.lr_scheduler_type": "cosine" if optimizer.decay_share else "constant",
        f"{actor}.optim.min_lr_ratio": optimizer.final_share if optimizer.decay_share else 0.0,
        f"{actor}.fsdp_config.param_offload": verl.offload,
        f"{actor}.fsdp_config.optimizer_offload": verl.offload,
    }
    if not packed:
        settings[f"{model}.override_config"] = {"attn_implementation": config.attention}
    if lora.rank:
        settings |= {
            f"{model}.lora_rank": lora.rank,
            f"{model}.lora_alpha": lora.alpha,
            f"{model}.target_modules": list(lora.targets),
            f"{model}.exclude_modules": ".*visual.*",
        }
    return settings


def _row_tokens(config: VerlJobConfig) -> int:
    """Tokens of a micro-batch: at least one whole row."""
    row = config.verl.prompt_tokens + config.rollout.max_new_tokens + config.verl.tool_tokens
    return max(config.micro_batch_tokens, row)


def _rollout(config: VerlJobConfig, folder: Path) -> dict[str, Any]:
    rollout, verl = "actor_rollout_ref.rollout", config.verl
    length = verl.prompt_tokens + config.rollout.max_new_tokens + verl.tool_tokens
    settings: dict[str, Any] = {
        f"{rollout}.name": "vllm",
        f"{rollout}.n": config.group_size,
        f"{rollout}.temperature": config.rollout.temperature,
        f"{rollout}.top_p": config.rollout.top_p,
        f"{rollout}.tensor_model_parallel_size": verl.tensor_parallel,
        f"{rollout}.gpu_memory_utilization": verl.gpu_memory,
        f"{rollout}.max_model_len": length,
        f"{rollout}.max_num_batched_tokens": max(8192, length),
        f"{rollout}.log_prob_max_token_len_per_gpu": _row_tokens(config),
        f"{rollout}.logprobs_mode": "processed_logprobs",
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.agent.num_workers": verl.agent_workers,
        f"{rollout}.agent.default_agent_loop": AGENT,
        f"{rollout}.agent.agent_loop_config_path": str(folder / "agent.yaml"),
        f"{rollout}.agent.agent_loop_manager_class": f"{_MODULE}.AirManager",
    }
    if config.lora.rank:
        settings[f"{rollout}.load_format"] = "safetensors"
    if verl.rollout_nodes:
        settings |= {f"{rollout}.nnodes": verl.rollout_nodes}
        settings |= {f"{rollout}.n_gpus_per_node": verl.gpus_per_node}
    return settings


def _algorithm(config: VerlJobConfig) -> dict[str, Any]:
    cap = config.loss.sampler_weight_cap
    return {
        "algorithm.adv_estimator": "air",
        "algorithm.use_kl_in_reward": False,
        "algorithm.filter_groups.enable": config.refill > 0,
        "algorithm.filter_groups.metric": "reward",
        "algorithm.rollout_correction.rollout_is": None if cap is None else "token",
        "algorithm.rollout_correction.rollout_is_threshold": 2.0 if cap is None else cap,
        "reward.num_workers": 1,  # rewards come with the rows
    }


def _trainer(config: VerlJobConfig, folder: Path) -> dict[str, Any]:
    verl, stale = config.verl, config.max_staleness
    mode = "sync" if stale == 0 else "separate_async" if verl.rollout_nodes else "colocate_async"
    settings: dict[str, Any] = {
        "trainer.project_name": "air-reasoning",
        "trainer.experiment_name": folder.name,
        "trainer.nnodes": verl.nodes,
        "trainer.n_gpus_per_node": verl.gpus_per_node,
        "trainer.total_epochs": config.steps,
        "trainer.total_training_steps": config.steps,
        "trainer.save_freq": config.save_every,
        "trainer.max_actor_ckpt_to_keep": config.keep_last,
        "trainer.default_local_dir": str(folder / "checkpoints"),
        "trainer.val_before_train": bool(verl.val_tasks),
        "trainer.test_freq": verl.test_every if verl.val_tasks else -1,
        "trainer.logger": list(verl.logger),
        "trainer.v1.trainer_mode": mode,
        "trainer.v1.sampler.sync_refill_failed_groups": stale == 0,
    }
    if stale:
        settings["trainer.v1.sampler.max_off_policy_threshold"] = stale + 1
    if mode == "separate_async":
        settings |= {"actor_rollout_ref.hybrid_engine": False}
        settings |= {"trainer.v1.separate_async.parameter_sync_step": 1}
    return settings


def _for_hydra(settings: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
    }
    for key, value in settings.items():
        *above, last = key.split(".")
        branch = tree
        for name in above:
            branch = branch.setdefault(name, {})
        branch[last] = value
    return tree


_LAUNCH = """\
#!/bin/sh
# Starts the training, on one machine or on the head node of a running Ray cluster. Every node needs
# pip install 'verl[vllm]=={version}' air-reasoning, and this folder and the model at the same path.
set -eu
cd {folder}
found=$(python -c 'from importlib.metadata import version; print(version("verl"))')
if [ "$found" != "{version}" ]; then
    echo "verl $found is installed; this job needs verl=={version}" >&2
    exit 4
fi
exec python -m verl.trainer.main_ppo --config-path {folder} --config-name verl "$@"
"""
