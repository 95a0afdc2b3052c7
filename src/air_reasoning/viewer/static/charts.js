// Which curves a run page shows, and in which order. A chart is there if the run has one of its metrics.

/** [title, {metric: label}, unit]; unit "share" is 0 to 1, shown in percent. */
export const CHARTS = [
  ["Reward", { "reward/total": "total" }],
  ["Reward by term", { "reward/correct": "correct", "reward/over_call": "over call", "reward/under_call": "under call",
    "reward/error": "error", "reward/format": "format" }],
  ["Accuracy", { accuracy: "all", accuracy_easy: "easy", accuracy_medium: "medium", accuracy_hard: "hard", accuracy_banned: "code banned",
    accuracy_interleaved: "with code" }, "share"],
  ["Code among right and wrong", { code_share_right: "right", code_share_wrong: "wrong" }, "share"],
  ["Code by difficulty", { code_share: "all", code_share_easy: "easy", code_share_medium: "medium", code_share_hard: "hard" }, "share"],
  ["Tool success", { tool_success: "cells without error" }, "share"],
  ["Entropy", { "policy/entropy": "entropy", entropy: "entropy" }],
  ["Tokens a trajectory", { tokens_mean: "all", tokens_easy: "easy", tokens_medium: "medium", tokens_hard: "hard" }],
  ["Turns and calls", { turns_mean: "turns", calls_mean: "calls" }],
  ["Staleness", { "sampler/staleness": "updates behind", staleness: "updates behind" }],
  ["Sampler and trainer apart", { "sampler/logprob_gap": "mean |gap| of log p", "sampler/capped_share": "capped weights" }],
  ["Groups", { "groups/informative": "informative", "groups/constant": "constant" }],
  ["Loss", { "loss/total": "total", "loss/policy": "policy", "loss/anchor": "anchor", "loss/sft": "supervised" }],
];

/** Names of alarms whose figure has another name among the metrics. */
const ALARMED = { entropy: "policy/entropy", sampler_gap: "sampler/logprob_gap", image_mismatch: "batch/image_mismatch",
  grad_norm: "optim/grad_norm", constant_groups: "groups/constant", lost: "groups/lost_trajectories" };
export const alarmedMetric = (name) => ALARMED[name] ?? name;

/** Charts of the metrics that exist: the known ones first, then the rest by prefix. [{title, series, share}] */
export function chartsOf(names) {
  const left = new Set(names);
  const shown = [];
  for (const [title, metrics, unit] of CHARTS) {
    const series = Object.entries(metrics).filter(([name]) => left.delete(name));
    if (series.length) shown.push({ title, series, share: unit === "share" });
  }
  const rest = new Map();
  for (const name of left) {
    const prefix = name.includes("/") ? name.slice(0, name.indexOf("/")) : "other";
    rest.set(prefix, [...(rest.get(prefix) ?? []), [name, name.slice(name.indexOf("/") + 1).replaceAll("_", " ")]]);
  }
  const more = [...rest].flatMap(([prefix, series]) =>
    prefix === "stop" ? [{ title: "Stop reasons", series, share: true }] : series.map(([name]) => ({ title: name, series: [[name, ""]], share: false })));
  return { shown, more };
}

/** Exponential moving average that ignores gaps; `amount` 0 is none, 0.9 is strong. Started without bias. */
export function smoothed(values, amount) {
  let sum = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    sum = amount * sum + (1 - amount) * value;
    weight = amount * weight + (1 - amount);
    return sum / weight;
  });
}
