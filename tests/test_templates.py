"""The cluster templates: shell that parses, YAML that parses, options and settings that we know."""

import re
import shlex
import subprocess

import pytest
import yaml
from typer.main import get_command

from air_reasoning import cli
from air_reasoning.config import config_keys, load_config
from air_reasoning.export_cli import FILES, TEMPLATES
from air_reasoning.integrations.verl_job import VERL
from air_reasoning.rl_config import RLConfig


def text(name: str) -> str:
    return (TEMPLATES / FILES[name]).read_text()


def test_every_file_has_a_name():
    assert {file.name for file in TEMPLATES.iterdir()} == set(FILES.values())


@pytest.mark.parametrize("name", ["slurm", "slurm-verl"])
def test_shell_parses_and_slurm_lines_come_first(name):
    subprocess.run(["bash", "-n"], input=text(name), text=True, check=True)
    lines = text(name).splitlines()
    first_command = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    late = [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    assert not late  # Slurm stops reading its options at the first command
    assert "NEVER RUN" in "".join(lines[:8])


def air_words() -> list[list[str]]:
    """The command lines of `air` in the templates, as words after `air`."""
    joined = text("slurm").replace("\\\n", " ")
    line = next(line for line in joined.splitlines() if "/air" in line and " rl " in line)
    jobs = [part for part in yaml.safe_load_all(text("kubernetes")) if part["kind"] == "Job"]
    (container,) = jobs[0]["spec"]["template"]["spec"]["containers"]
    after = line.partition('/bin/air" ')[2].rstrip("& ")
    return [shlex.split(after), [*container["command"][1:], *container["args"]]]


@pytest.mark.parametrize("words", air_words(), ids=["slurm", "kubernetes"])
def test_the_options_and_settings_of_air_are_known(words):
    command = get_command(cli.app).commands[words[0]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    assert options
    assert set(options) <= known
    pattern = r"(?:--override=)?([a-z_]+(?:\.[a-z_]+)*)=.*"
    keys = [match[1] for word in words if (match := re.fullmatch(pattern, word))]
    assert keys
    assert set(keys) <= set(config_keys(RLConfig))


def test_kubernetes_parts_fit_together():
    parts = list(yaml.safe_load_all(text("kubernetes")))
    sets = [part for part in parts if part["kind"] == "StatefulSet"]
    services = {part["metadata"]["name"]: part for part in parts if part["kind"] == "Service"}
    assert set(services) == {"air-sampler", "air-sandbox"}
    for each in sets:
        name = each["spec"]["serviceName"]
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert labels == services[name]["spec"]["selector"]
        urls = re.findall(rf"http://{name}-\d\.", text("kubernetes"))
        assert len(urls) == each["spec"]["replicas"]


def test_the_settings_inside_the_kubernetes_file_are_valid(tmp_path):
    settings = next(yaml.safe_load_all(text("kubernetes")))["data"]["rl.yaml"]
    (tmp_path / "rl.yaml").write_text(settings)
    assert load_config(RLConfig, files=[tmp_path / "rl.yaml"]).value.lora.rank == 64


def test_the_ray_cluster_names_the_supported_verl():
    cluster = yaml.safe_load(text("ray-verl"))
    assert any(f"verl[vllm]=={VERL}" in command for command in cluster["setup_commands"])
    assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_a_template_is_written_once(tmp_path, capsys):
    assert cli.main(["export", "template", "slurm"]) == 0
    assert capsys.readouterr().out == text("slurm")
    file = tmp_path / "job.sbatch"
    assert cli.main(["export", "template", "slurm", "-o", str(file)]) == 0
    assert file.read_text() == text("slurm")
    assert cli.main(["export", "template", "slurm", "-o", str(file)]) == 2
