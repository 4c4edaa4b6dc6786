"""The card of exported guides: whose they are, of which task, judged how, and what Q, V and S they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from npo_pipeline import __version__
from npo_pipeline.analysis.numbers import markdown, score
from npo_pipeline.shown import spelt
from npo_pipeline.storage.layout import Layout

GUIDES = "guides"  # the folder of the Parquet files
KEY = "npo"  # of the card's header: what a program needs to know

COLUMNS = {
    "problem_id": "of the run's training problems",
    "guide_step": "of the checkpoint that sampled the row: the result of so many updates of the run",
    "sample_index": "the number of the try; a guided run takes the verified one with the lowest",
    "question, answer, difficulty": "the problem, its reference answer, its label",
    "prompt": "what the policy read, special tokens included; an image is one placeholder",
    "response": "the text without special tokens: what was judged",
    "reward, verified": "of the verifier below; only verified rows may guide",
    "finish_reason": "stop: it ended by itself; length: at the longest allowed",
    "prompt_token_ids, response_token_ids": "by the run's own tokenizer; a response that stopped ends with the end of sequence",
    "guide_logprobs": "of each response token, nats, under the distribution that was sampled",
    "prompt_sha256": "of the prompt, and of its images' files",
    "policy_sha256": "the identity of the weights that sampled the row",
    "images": "where the task has them, in the order of the placeholders",
}


@dataclass(frozen=True)
class Source:
    """What a card is made of: resolved configurations (of `prepare` and `guide`), manifests by guide step, rows of signal.parquet, and
    the sha256 of the files beside the card.
    """

    configs: Mapping[str, Any]
    layout: Layout
    manifests: Mapping[int, Mapping[str, Any]]
    signal: Sequence[Mapping[str, Any]]
    content: str


def card(source: Source, rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown under a YAML header, as the hub and `datasets` read it."""
    head = yaml.safe_dump(header(source), sort_keys=False, allow_unicode=True, width=140)
    parts = [_origin(source), _task(source), _steps(source, rows), _signal(source), _columns(), _use(), LICENCE]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def header(source: Source) -> dict[str, Any]:
    sampling, layout = source.configs["guide"]["sampling"], source.layout
    return {
        "pretty_name": f"Guide trajectories of {layout.root.name}, seed {layout.seed}",
        "tags": ["npo", "rlvr", "grpo", "trajectories"],
        "configs": [
            _config(GUIDES, f"{GUIDES}/*.parquet", source.content) | {"default": True},
            _config("signal", "signal.parquet", source.content),
        ],
        KEY: {
            "run": layout.root.name,
            "seed": layout.seed,
            "round": layout.round or "round-1",
            "guide_steps": list(source.manifests),
            "lookback": source.configs["guide"]["lookback"],
            **{key: sampling[key] for key in ("temperature", "top_p", "top_k", "max_new_tokens")},
            "probe_sha256": next(iter(source.manifests.values()))["probe_sha256"],
            "code_version": __version__,
        },
    }


def _config(name: str, path: str, content: str) -> dict[str, Any]:
    """The description tells folders of the same name apart: `datasets` keeps what it read once, and looks at no path and no content."""
    files = [{"split": "train", "path": path}]
    return {"config_name": name, "description": f"content {content}", "data_files": files}


def _origin(source: Source) -> str:
    layout, policy, guide = source.layout, source.configs["prepare"]["policy"], source.configs["guide"]
    place = f", {layout.round}" if layout.round else ""
    averaged = f" Each stands for the mean of the last {guide['average']} checkpoints kept up to it." if guide.get("average") else ""
    return (
        f"# Guide trajectories of `{layout.root.name}`, seed {layout.seed}{place}\n\n"
        "Later checkpoints of a GRPO run tried again what its earlier policies had failed: Near-Future Policy Optimization "
        "(arXiv 2604.20733), made with npo-pipeline "
        f"{__version__}. A second run takes them into the groups that it fails itself.\n\n"
        f"- **Policy**: {_policy(policy)}, {guide['dtype']}; its checkpoints {', '.join(map(str, source.manifests))} sampled, "
        f"and each row names the weights (`policy_sha256`).{averaged}\n"
        f"- **Sampled at** {_settings(guide['sampling'])}; up to {guide['samples']} tries of each problem whose group, in the "
        f"{guide['lookback']} steps before the checkpoint, had at most {guide['gate']:.0%} right.\n"
        f"- **Manifest of the run**: sha256 `{next(iter(source.manifests.values()))['probe_sha256']}`."
    )


def _policy(policy: Mapping[str, Any]) -> str:
    if policy["source"] == "scratch":
        shape = policy["scratch"]
        return f"built from scratch ({shape['layers']} layers of width {shape['hidden_size']})"
    revision = f" at {policy['revision']}" if policy.get("revision") else ""
    return f"`{spelt(str(policy['path']))}`{revision}" + (f", LoRA of rank {policy['lora']['rank']}" if policy.get("lora") else "")


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items() if value is not None)


def _task(source: Source) -> str:
    task = source.configs["prepare"]["task"]
    shown = {key: task[key] for key in ("source", "name", "config", "train", "train_split", "revision", "prompt") if task.get(key)}
    texts = [yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=140) for part in (shown, task["verifier"])]
    return f"## Task\n\n```yaml\n{spelt(texts[0])}```\n\n## Verifier and its rules\n\n{RULES}\n\n```yaml\n{spelt(texts[1])}```"


def _steps(source: Source, rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["guide step", "problems tried", "solved", "tries", "verified", "policy_sha256"]
    table = []
    for step, made in source.manifests.items():
        own = [row for row in rows if row["guide_step"] == step]
        names = sorted({row["policy_sha256"][:12] for row in own})
        counts = (made["n_pool"], made["n_covered"], made["n_samples"], sum(row["verified"] for row in own))
        table.append([str(step), *map(str, counts), ", ".join(names)])
    return f"## Guide steps\n\n{markdown(header, table)}"


def _signal(source: Source) -> str:
    """Of each guide step the row with the largest S."""
    header = ["guide step", "best for step", "distance", "Q", "V", "S", "failed", "covered"]
    table = []
    for step in source.manifests:
        found = [row for row in source.signal if row["guide_step"] == step and row["s"] is not None and row["s"] == row["s"]]
        if found:
            best = max(found, key=lambda row: row["s"])
            counts = (best["n_failed"], best["n_covered"])
            table.append([str(step), str(best["current_step"]), str(best["distance"]), *(score(best[k]) for k in "qvs"), *map(str, counts)])
    variance = source.configs["guide"]["variance"]
    return (
        f"## Effective learning signal\n\nS = Q / V, V estimated by `{variance['estimator']}` (beta {variance['beta']}). Of each guide "
        f'step the current policy that it has most for; all pairs: `load_dataset(FOLDER, "signal")`.\n\n{markdown(header, table)}'
    )


def _columns() -> str:
    return "## Columns\n\n" + "\n".join(f"- `{name.replace(', ', '`, `')}`: {meaning}" for name, meaning in COLUMNS.items())


def _use() -> str:
    return (
        "## Use\n\n```python\nfrom datasets import load_dataset\n\n"
        'guides = load_dataset("FOLDER", split="train").filter(lambda row: row["verified"])\n```\n\n'
        "In TRL's GRPOTrainer: `npo_pipeline.integrations.trl.GuidedGRPOTrainer`."
    )


RULES = "Only a full reward of 1.0 is verified; how the answer is found in the response, and by whom it is judged:"
LICENCE = (
    "## Licence\n\nNone is stated. Before you share this, add a `license:` to the header; the licences of the problems "
    "and of the model that wrote the responses bind it."
)
