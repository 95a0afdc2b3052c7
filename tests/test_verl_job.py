"""`air export verl-job`: rows that come back as tasks, settings that say what ours say."""

import stat
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from air_reasoning.cli import main
from air_reasoning.config import load_config
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.images import decode_image, save_blob
from air_reasoning.integrations.verl_job import VerlJobConfig, verl_settings
from air_reasoning.integrations.verl_rows import row_task, task_row
from air_reasoning.rl_config import RLConfig
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.types import Answer, Part, Task

BASE = ("anchor.weight=0", "optimizer.decay_share=0")
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


def task(folder: Path, name: str = "t") -> Task:
    colours = ["red", "green", "blue"]
    pictures = [Image.new("RGB", (64 + 8 * n, 64), c) for n, c in enumerate(colours)]
    return Task(
        id=name,
        prompt=[
            Part(kind="image", image=2),
            Part(kind="text", text="What does <image> mean?"),
            Part(kind="image", image=0),
            Part(kind="image", image=2),
        ],
        images=[save_blob(picture, folder) for picture in pictures],
        answer=Answer(value="3", type="int"),
        meta={"kind": "sum"},
    )


def opened(row: dict) -> dict:
    """As verl's data set hands it on: the text cut at its marks, pictures opened."""
    pictures = iter(row["images"])
    content = row["prompt"][-1]["content"]
    texts = content.split("<image>")
    parts: list[dict] = [{"type": "text", "text": texts[0]}]
    for text in texts[1:]:
        data = next(pictures)["bytes"]
        parts.append({"type": "image", "image": decode_image(data, "row")})
        parts.append({"type": "text", "text": text})
    return row | {"raw_prompt": [{"role": "user", "content": parts}]}


def settings(tmp_path: Path, *overrides: str, base: bool = True) -> dict:
    given = [f"tasks={tmp_path}", *(BASE if base else ()), *overrides]
    config = load_config(VerlJobConfig, overrides=given).value
    return verl_settings(config, tmp_path / "job", {"min_pixels": 64, "max_pixels": 4096})


def test_a_row_comes_back_as_the_task_with_its_pictures_in_order(tmp_path):
    made = task(tmp_path)
    row = task_row(made, 7, "train")
    assert row["prompt"][0]["content"] == "<image>What does < image> mean?<image><image>"
    assert [len(row["images"]), row["extra_info"]["unseen"]["place"]] == [3, [1]]
    back, pictures = row_task(opened(row))
    assert back == replace(made, images=[replace(ref, path="") for ref in made.images])
    assert [p.getpixel((0, 0)) for p in pictures] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert str(tmp_path) not in str(row)


def test_a_row_of_somebody_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="not one of `air export verl-job`"):
        row_task({"extra_info": {"index": 1}, "raw_prompt": []})
    row = opened(task_row(task(tmp_path), 0, "train"))
    row["raw_prompt"][0]["content"].pop(1)
    with pytest.raises(DataError, match="export the tasks again"):
        row_task(row)


def test_the_settings_say_what_ours_say(tmp_path):
    given = (
        *("prompts=32", "updates=4", "group_size=6", "steps=50", "loss.clip_high=0.3"),
        *("lora.rank=16", "refill=1", "verl.nodes=4", "verl.tool_tokens=1000"),
        *("rollout.max_new_tokens=500", "rollout.temperature=0.9", "max_staleness=2"),
        *("loss.sampler_weight_cap=3", "verl.options={trainer.logger: [wandb]}"),
    )
    made = settings(tmp_path, *given)
    assert made[f"{ACTOR}.ppo_mini_batch_size"] == 8
    assert (made[f"{ROLLOUT}.n"], made[f"{ROLLOUT}.temperature"]) == (6, 0.9)
    assert (made[f"{ACTOR}.clip_ratio_low"], made[f"{ACTOR}.clip_ratio_high"]) == (0.2, 0.3)
    assert made["data.max_response_length"] == 1500
    assert made[f"{ROLLOUT}.max_model_len"] == 4096 + 1500
    assert made["actor_rollout_ref.model.lora_rank"] == 16
    assert made["data.mm_processor_kwargs"] == {"min_pixels": 64, "max_pixels": 4096}
    assert made["algorithm.adv_estimator"] == "air"
    assert made["algorithm.rollout_correction.rollout_is_threshold"] == 3
    assert made["trainer.v1.trainer_mode"] == "colocate_async"
    assert made["trainer.v1.sampler.max_off_policy_threshold"] == 3
    assert (made["trainer.nnodes"], made["trainer.logger"]) == (4, ["wandb"])


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), "anchor.weight"),
        (("optimizer.kind=muon",), "optimizer.kind"),
        (("optimizer.freeze=[lm_head]",), "optimizer.freeze"),
        (("optimizer.decay_share=0.5",), "optimizer.decay_share"),
        (("rollout.code_temperature=0",), "rollout.code_temperature"),
        (("prompts=10", "updates=4"), "updates"),
        (("verl.rollout_nodes=1",), "verl.rollout_nodes"),
        (("endpoint.api=vllm", "endpoint.url=http://x/v1"), "endpoint.url"),
    ],
)
def test_what_verl_lacks_is_refused_by_name(tmp_path, overrides, named):
    with pytest.raises(ConfigError, match=named):
        settings(tmp_path, *overrides, base=bool(overrides))


def test_the_folder_is_whole_and_air_rl_reads_its_settings(tmp_path, tiny_model):
    write_tasks(tmp_path / "tasks", [task(tmp_path, name) for name in "abc"])
    config = tmp_path / "rl.yaml"
    config.write_text(
        f"tasks: {tmp_path / 'tasks'}\nprompts: 2\nanchor: {{weight: 0}}\n"
        "optimizer: {decay_share: 0}\n"
    )
    job = tmp_path / "job"
    words = ["export", "verl-job", "-c", str(config), "-o", str(job)]
    words += ["--override", f"model.path={tiny_model}"]
    assert main([*words, "--dry-run"]) == 0
    assert not job.exists()
    assert main(words) == 0
    table = pq.read_table(job / "train.parquet").to_pylist()
    assert [row["extra_info"]["index"] for row in table] == [0, 1, 2]
    assert [row_task(opened(row))[0].id for row in table] == ["a", "b", "c"]
    verl = yaml.safe_load((job / "verl.yaml").read_text())
    assert set(verl["data"]["mm_processor_kwargs"]) == {"min_pixels", "max_pixels"}  # both or none
    assert load_config(RLConfig, files=[job / "air.yaml"]).value.prompts == 2
    assert yaml.safe_load((job / "agent.yaml").read_text())[0]["settings"] == str(job / "air.yaml")
    assert (job / "launch.sh").stat().st_mode & stat.S_IXUSR
    assert main(words) == 2  # not empty
    assert main([*words, "--overwrite", "--override", "prompts=4"]) == 2  # fewer tasks than a step
    assert main([*words, "--overwrite", "--override", "verl.prompt_tokens=9"]) == 2
    assert [t.id for t in read_tasks(tmp_path / "tasks")] == ["a", "b", "c"]
