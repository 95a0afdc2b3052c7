"""From records of an evaluation to ``summary.json``, and the sentences that go with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from air_reasoning.config import flat_values
from air_reasoning.environment import environment
from air_reasoning.eval import tables
from air_reasoning.eval.benchmark import Benchmark
from air_reasoning.eval.judge import side_model_names
from air_reasoning.eval.measure import Measure
from air_reasoning.eval.repeats import repeat_figures
from air_reasoning.eval.settings import EvalConfig
from air_reasoning.identity import content_identity
from air_reasoning.json_io import to_json
from air_reasoning.metrics import (
    Record,
    paired,
    route_shares,
    stop_shares,
    summarize,
    summary_json,
)

GROUPS: tuple[tuple[str, Callable[[Record], str]], ...] = (
    ("kinds", lambda record: record.kind),
    ("subjects", lambda record: record.subject),
)


def summarize_all(
    measures: Sequence[Measure],
    results: Sequence[list[Record]],
    benchmark: Benchmark,
    config: EvalConfig,
) -> dict[str, Any]:
    """``checkpoints`` as the tables want it, then the same by kind and subject, repeats, routes,
    stops, official figures, cost and tool benefit; each by row name and decoding.
    """
    parts = ("checkpoints", "kinds", "subjects", "repeats", "routes", "stops", "official", "cost")
    summary: dict[str, Any] = {name: {} for name in parts}
    for measure, records in zip(measures, results, strict=True):
        values: dict[str, Any] = {
            "checkpoints": summary_json(summarize(records)),
            **{
                part: {
                    name: summary_json(summarize([r for r in records if of(r) == name]))
                    for name in _names(records, of)
                }
                for part, of in GROUPS
            },
            "repeats": summary_json(repeat_figures(records)),
            "routes": summary_json(route_shares(records)),
            "stops": summary_json(stop_shares(records)),
            "official": _official(records, benchmark),
            "cost": _cost(records, config),
        }
        for part, value in values.items():
            summary[part].setdefault(measure.row_name, {})[measure.decoding] = value
    by_pass = {(m.decoding, m.code): r for m, r in zip(measures, results, strict=True)}
    summary["tool_benefit"] = {
        decoding: tool_benefit(records, by_pass[decoding, "forbid"])
        for (decoding, code), records in by_pass.items()
        if code == "allow" and (decoding, "forbid") in by_pass
    }
    return summary


def tool_benefit(allowed: list[Record], forbidden: list[Record]) -> dict[str, Any]:
    """Accuracy with code minus accuracy without, same tasks: over all, by kind and by subject."""
    compared = {"all": to_json(paired(allowed, forbidden))}
    for part, of in GROUPS:
        for name in _names(allowed, of):
            pair = paired([record for record in allowed if of(record) == name], forbidden)
            compared[f"{part[:-1]}: {name}"] = to_json(pair)
    return compared


def benefit_note(decoding: str, pairs: Mapping[str, Any]) -> str:
    """One sentence on what code is worth over all tasks."""
    pair = pairs["all"]
    gain = pair["difference"]
    if gain["value"] is None:
        return f"What code is worth, {decoding}: undefined, nothing was scored with and without it."
    interval = (
        f" (95 % interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        if gain["low"] is not None
        else ""
    )
    return (
        f"What code is worth, {tables.DECODINGS.get(decoding, decoding)}: "
        f"{100 * gain['value']:+.1f} points{interval}; {pair['only_a']} pairs right only with "
        f"code, {pair['only_b']} only without, McNemar p = {pair['p_value']:.2g}, n = {pair['n']}."
    )


def provenance(
    config: EvalConfig, benchmark: Benchmark, model: str, tasks_id: str, n: int
) -> dict[str, Any]:
    """Everything that can move a score; two reports that differ here are not simply compared."""
    packages = environment().get("packages", {})
    engine = config.engine
    return {
        "benchmark": benchmark.label,
        "tasks": f"{n}, {tasks_id}",
        "scoring": config.scoring,
        **side_model_names(config.judge, config.extractor),
        "model": model,
        "back end": _back_end(config),
        "prompt": benchmark.prompt_id,
        "system prompt": engine.system_prompt or "the template's",
        "format": engine.format,
        "min_pixels": engine.min_pixels or "the checkpoint's",
        "max_pixels": engine.max_pixels or "the checkpoint's",
        **{_rollout_name(name): value for name, value in flat_values(config.rollout).items()},
        "max_context": engine.sampler.max_context or "the checkpoint's",
        "sandbox limits": _sandbox_limits(config),
        "seed": config.seed,
        **{f"version {name}": version for name, version in packages.items() if version},
    }


def _sandbox_limits(config: EvalConfig) -> str:
    """All that a cell may meet, by a hash: they are many, and listed with the settings."""
    values = flat_values(config.engine.sandbox)
    values.pop("max_sessions", None)
    return content_identity([values])[:8]


def _rollout_name(name: str) -> str:
    return f"{name} (sampled)" if name.endswith("temperature") else name


def _back_end(config: EvalConfig) -> str:
    if config.model.script is not None:
        return "scripted"
    if config.endpoint.url:
        told = (config.endpoint.api, f"results {config.endpoint.tool_results}")
        return ", ".join(("endpoint", *told, *(f"without {name}" for name in config.endpoint.omit)))
    return f"local, {config.engine.device}, {config.engine.dtype}"


def _names(records: Sequence[Record], of: Callable[[Record], str]) -> list[str]:
    return sorted({of(record) for record in records} - {""})


def _official(records: Sequence[Record], benchmark: Benchmark) -> dict[str, Any]:
    """The benchmark's own further figures, on the first roll-out of each task."""
    first = {r.task_id: r.correct for r in records if r.repeat == 0 and not r.unscored}
    results = [(task, first[task.id]) for task in benchmark.tasks if task.id in first]
    return summary_json(benchmark.figures(results)) if benchmark.figures and results else {}


def _cost(records: Sequence[Record], config: EvalConfig) -> dict[str, float]:
    """Sums over scored trajectories; ``seconds`` overlap where roll-outs run side by side."""
    scored = [record for record in records if not record.unscored]
    prompt, written = sum(r.prompt_tokens for r in scored), sum(r.tokens for r in scored)
    prompt_price = config.price.prompt or config.endpoint.input_price
    written_price = config.price.completion or config.endpoint.output_price
    return {
        "prompt_tokens": prompt,
        "tokens": written,
        "calls": sum(r.calls for r in scored),
        "seconds": sum(r.seconds for r in scored),
        "price": (prompt_price * prompt + written_price * written) / 1e6,
    }
