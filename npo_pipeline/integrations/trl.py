"""Pass two in TRL: a GRPOTrainer whose gated groups get a guide in their last slot, as in a guided run of ours (grpo/mixing.py).

    trainer = GuidedGRPOTrainer(model=..., reward_funcs=..., args=GRPOConfig(...), train_dataset=...,
                                guides="guides", schedule="results/default/seed-0/npo/schedule.yaml")

At each step of a window, a group of which the policy itself got a share of at most `gate` right has its last completion replaced by the
guide that answers its prompt (matched by token ids), before anything is scored, so that baseline, advantages and loss see it as ours do.
The guide's reward is that of the trainer's own reward functions; one that they do not find right is refused. Its importance ratio starts
at 1, as if the policy had sampled it; in a window with `correction` it is pi_theta over the recorded guide log-probs. Text only.
"""

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npo_pipeline.errors import ConfigError
from npo_pipeline.guidance.schedule import Window
from npo_pipeline.integrations.supply import Guide, Guides, read_guides, read_windows
from npo_pipeline.shown import one_line, short_repr

try:
    import trl
    from trl import GRPOConfig, GRPOTrainer
    from trl.data_utils import is_conversational
except ImportError as missing:
    raise ConfigError(
        f"npo_pipeline.integrations.trl: TRL is not installed, or does not import ({one_line(str(missing))}); pip install 'trl>=1.16,<1.17'"
    ) from missing

TRIED = "1.16."  # whose methods are overridden below
CHECKED = 10_000  # prompts of the dataset that are compared with the guides' before training

log = logging.getLogger(__name__)

__all__ = ["GuidedGRPOTrainer", "Window"]


class GuidedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, with guides; `guides` and `schedule` come beside its own arguments.

    `guides`: the folder that `npo export-guides` wrote, or its name on the hub. `schedule`: a schedule.yaml, or windows over optimizer
    steps. `correct_reward`: from which sum of rewards on a completion counts as right (ours: a verified one has 1.0).
    Metrics beside TRL's, per generated batch: `guide/injected` (groups), `guide/refused`, `guide/step`, and of the policy's own samples
    `reward/mean`, `accuracy`, `groups/all_wrong`: TRL's `reward` also counts the guides.
    Raises ConfigError and DataError before the model is loaded, or, where no prompt of the dataset has a guide, before training.
    """

    def __init__(
        self,
        *args: Any,
        guides: str | Path,
        schedule: str | Path | Sequence[Window],
        correct_reward: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if not trl.__version__.startswith(TRIED):
            raise ConfigError(f"TRL {trl.__version__}: guides need {TRIED}*, other releases name things differently; install that one")
        given = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **kwargs).arguments
        _check_text_only(given)
        self.guides: Guides = read_guides(guides, (given.get("args") or GRPOConfig).max_completion_length)
        self.windows = read_windows(schedule, self.guides)
        self.correct_reward = correct_reward
        self._inputs: list[dict[str, Any]] = []  # of the batch that is generated now
        self._judged: Tensor | None = None  # its rewards, once they are known
        self._injected: Mapping[int, Guide] = {}  # by row of this process
        super().__init__(*args, **kwargs)
        if self.guides.left_out:
            limit = f"max_completion_length={self.max_completion_length}"
            log.warning("%s: %d guides are longer than %s: left out", self.guides.name, self.guides.left_out, limit)
        self._check_prompts()

    def window(self) -> Window | None:
        """Of the step that is generated for; None outside of every window, and in evaluation."""
        step = self.state.global_step if self.model.training else -1
        return next((window for window in self.windows if window.from_step <= step < window.to_step), None)

    def _check_prompts(self) -> None:
        """Raises ConfigError where the dataset can be looked at and no guide answers any of its prompts."""
        if not hasattr(self.train_dataset, "__len__"):
            return
        prompts = self.train_dataset[:CHECKED]["prompt"]
        ids, _, _ = self._tokenize_prompts(list(prompts))
        if not any(map(self.guides.covers, ids)):
            read = short_repr(self._tokenizer.decode(ids[0]))
            raise ConfigError(
                f"{self.guides.name}: no guide answers a prompt of the dataset. A guide's: {short_repr(self.guides.example)}; the "
                f"dataset's first, as the trainer reads it: {read}. Expected the same tokens: take the run's own tokenizer, and its "
                "prompts (column `prompt` of the guides)"
            )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._inputs, self._judged, self._injected = inputs, None, {}
        output = super()._generate_and_score_completions(inputs)
        window = self.window()
        if window is not None and window.correction:
            output["old_per_token_logps"] = self._denominators(output)
        return output

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """As TRL samples; then the guides are in, and all is judged."""
        generated = super()._generate(prompts)
        window = self.window()
        if window is None:
            if self.model.training:
                self._metrics["train"]["guide/injected"].append(0.0)
            return generated
        prompt_ids, completion_ids, tool_mask, completions, logprobs, *rest = generated
        own = super()._calculate_rewards(self._inputs, prompts, completions, completion_ids)
        guides = self._guides_for(window, prompt_ids, self._accuracies(own))
        texts = {row: self._text(prompts[row], prompt_ids[row], guide) for row, guide in guides.items()}
        final = self._judge_mixed(prompts, completions, completion_ids, guides, texts) if self._anywhere(len(guides)) else own
        injected = {row: guide for row, guide in guides.items() if self._right(final)[self._place(row)]}
        for row, guide in injected.items():
            completions[row], completion_ids[row] = texts[row], list(guide.response_token_ids)
            if logprobs is not None:
                logprobs[row] = [None] * len(guide.logprobs)  # of no engine: TRL corrects nothing where it has none
        self._judged = self._with_refused(own, final, set(guides) - set(injected))
        self._injected = injected
        self._log_guides(window, own, len(injected), len(guides) - len(injected))
        return (prompt_ids, completion_ids, tool_mask, completions, logprobs, *rest)

    def _judge_mixed(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[Any], guides: Mapping[int, Guide], texts: Mapping[int, Any]
    ) -> Tensor:
        """Rewards [N, functions] of all processes' rows, with the guides in them."""
        mixed = [texts.get(i, completion) for i, completion in enumerate(completions)]
        ids = [list(guides[i].response_token_ids) if i in guides else own for i, own in enumerate(completion_ids)]
        self._pending_extra_logs.clear()  # of the samples that were replaced: all are logged anew
        self._pending_metrics.clear()
        rewards: Tensor = super()._calculate_rewards(self._inputs, prompts, mixed, ids)
        return rewards

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        if self._judged is not None:
            return self._judged
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.model.training:
            self._log_own(rewards)
        return rewards

    def _place(self, row: int) -> int:
        """Of a row of this process among those of all."""
        return int(self.accelerator.process_index * len(self._inputs) + row)

    def _right(self, rewards: Tensor) -> list[bool]:
        """Of each row [N] of rewards [N, functions], weighed and summed as TRL does."""
        return [value >= self.correct_reward for value in (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1).tolist()]

    def _accuracies(self, rewards: Tensor) -> list[float]:
        """Of each group of all processes, of the policy's own samples."""
        right, size = self._right(rewards), self.num_generations
        return [sum(right[i : i + size]) / size for i in range(0, len(right), size)]

    def _guides_for(self, window: Window, prompt_ids: Sequence[Sequence[int]], accuracies: Sequence[float]) -> dict[int, Guide]:
        """By row of this process: the last of a group at or below the gate, whose prompt the window's guide step has solved."""
        found, supply = {}, self.guides.by_prompt[window.guide_step]
        for row, ids in enumerate(prompt_ids):
            group, slot = divmod(self._place(row), self.num_generations)
            if slot == self.num_generations - 1 and accuracies[group] <= window.gate and tuple(ids) in supply:
                found[row] = supply[tuple(ids)]
        return found

    def _text(self, prompt: Any, prompt_ids: Sequence[int], guide: Guide) -> Any:
        """The completion as TRL hands it to reward functions."""
        if not is_conversational({"prompt": prompt}):
            return self.processing_class.decode(guide.response_token_ids, skip_special_tokens=True)
        if any(getattr(self._tokenizer, name, None) is not None for name in ("response_template", "response_schema")):
            from trl.chat_template_utils import parse_response

            return [parse_response(self._tokenizer, list(guide.response_token_ids), prefix=prompt_ids, tools=self.tools)]
        content = self.processing_class.decode(guide.response_token_ids, skip_special_tokens=True)
        return [{"role": "assistant", "content": content}]

    def _anywhere(self, count: int) -> bool:
        """Whether any process has some: all of them must score together."""
        return bool(self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)).sum() > 0)

    def _with_refused(self, own: Tensor, final: Tensor, refused: set[int]) -> Tensor:
        """The rewards [N, functions] of what is trained on: a group keeps its own sample where the guide is not right here."""
        local = torch.zeros(len(self._inputs), dtype=torch.int32, device=own.device)
        local[sorted(refused)] = 1
        return torch.where(self.accelerator.gather(local)[:, None] == 1, own, final)

    @torch.no_grad()
    def _denominators(self, output: dict[str, Any]) -> Tensor:
        """Log-probs [B, T] that the ratios are taken over: of the policy that sampled; of injected rows as their guide recorded them."""
        old = output.get("old_per_token_logps")
        if old is None:
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
            mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
            width, rows = output["completion_ids"].size(1), self.args.per_device_train_batch_size
            old, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, width, batch_size=rows)
        old = old.clone()
        for row, guide in self._injected.items():
            old[row, : len(guide.logprobs)] = torch.tensor(guide.logprobs, dtype=old.dtype, device=old.device)
        return old

    def _log_guides(self, window: Window, own: Tensor, injected: int, refused: int) -> None:
        counts = self.accelerator.gather(torch.tensor([[injected, refused]], device=own.device)).sum(dim=0).tolist()
        values = {"guide/injected": counts[0], "guide/refused": counts[1], "guide/step": window.guide_step}
        for name, value in values.items():
            self._metrics["train"][name].append(float(value))
        self._log_own(own)

    def _log_own(self, rewards: Tensor) -> None:
        accuracies = self._accuracies(rewards)
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        self._metrics["train"]["reward/mean"].append(total.mean().item())
        self._metrics["train"]["accuracy"].append(sum(accuracies) / len(accuracies))
        self._metrics["train"]["groups/all_wrong"].append(sum(a == 0.0 for a in accuracies) / len(accuracies))


def _check_text_only(arguments: Mapping[str, Any]) -> None:
    """Raises ConfigError for what a guide cannot stand in: tools, environments, roll-outs of one's own, and images."""
    for name in ("tools", "environment_factory", "rollout_func"):
        if arguments.get(name):
            raise ConfigError(f"{name}: a guide is one response, so turns with tools and environments cannot be guided; leave it out")
    columns = getattr(arguments.get("train_dataset"), "column_names", None) or ()
    if seen := [name for name in ("image", "images") if name in columns]:
        raise ConfigError(f"train_dataset: has a column {seen[0]!r}; guides in TRL are text alone, run the pass in npo-pipeline itself")
