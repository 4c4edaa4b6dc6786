"""GuidedGRPOTrainer as one of several processes: each writes which rows of its batches are a guide, and their advantages.

python -m torch.distributed.run --nproc-per-node 2 tests/trl_ranks.py OUT
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import datasets
from guide_results import guide_trajectory, problems_for, write_guides
from tiny import tiny_policy
from trl import GRPOConfig

from npo_pipeline.guidance.schedule import Window
from npo_pipeline.integrations.export import export_guides
from npo_pipeline.integrations.trl import GuidedGRPOTrainer


def main(out: Path, rank: int) -> None:
    policy = tiny_policy()
    problems = problems_for(policy, 3)
    made = [guide_trajectory(policy, problem, 0, True) for problem in problems]
    export_guides(write_guides(out / f"mine-{rank}", problems, {4: made}).guide, out / f"guides-{rank}")
    right = list(made[0].response_token_ids)
    arguments = GRPOConfig(
        output_dir=str(out / "trl"),
        num_generations=4,
        per_device_train_batch_size=6,
        max_completion_length=6,
        max_steps=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        shuffle_dataset=False,
    )
    kept: list[list[dict[str, Any]]] = []

    class Recording(GuidedGRPOTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super()._generate_and_score_completions(inputs)
            masked = zip(batch["completion_ids"].tolist(), batch["completion_mask"].sum(dim=1).tolist(), strict=True)
            rows = zip([ids[:length] == right for ids, length in masked], batch["advantages"].tolist(), strict=True)
            kept.append([{"guide": guide, "advantage": advantage} for guide, advantage in rows])
            return batch

    trainer = Recording(
        policy.model,
        lambda completion_ids, **_: [float(ids == right) for ids in completion_ids],
        arguments,
        datasets.Dataset.from_dict({"prompt": [problem.prompt for problem in problems]}),
        processing_class=policy.tokenizer,
        guides=out / f"guides-{rank}",
        schedule=[Window(0, 1, 4, 0.5, False), Window(1, 2, 4, 0.5, True)],
    )
    trainer.train()
    (out / f"rank-{rank}.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
