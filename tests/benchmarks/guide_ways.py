"""Three ways to come to the same: a verified trajectory, and its log-probs under current policies, for prompts that the probe failed."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch
from harness import Experiment
from transformers import GenerationConfig

from npo_pipeline.configuration.compose import load_stage
from npo_pipeline.configuration.grid import checkpoint_steps
from npo_pipeline.configuration.stages import GuideStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.generate import first_verified
from npo_pipeline.guidance.pool import mistake_pool, segments
from npo_pipeline.guidance.shards.make import SCORE_TOKENS, Maker, make_guide, rescore
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.logprobs import collate, score
from npo_pipeline.policy.policy import export_policy, load_policy
from npo_pipeline.progress import Progress
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.sample import sample
from npo_pipeline.storage.guides import read_outcomes, read_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.tasks.judging.verify import Verifier


class Way:
    """`make` makes one guide checkpoint; `tokens` and `covered` are then what it sampled and how many prompts it covered."""

    def __init__(self, made: Experiment) -> None:
        self.config, digest = load_stage(made.config("guide"), GuideStage)
        self.layout = Layout(made.folder, 0)
        self.context = Context(self.config, digest, self.layout, Namespace(device="cpu", workers=1))
        self.problems = {problem.problem_id: problem for problem in read_problems(self.layout.problems)}
        self.verifier = Verifier(self.config.verifier)
        self.tokens = self.covered = 0

    def make(self, guide_step: int) -> None:
        raise NotImplementedError

    def outcomes(self, guide_step: int) -> list[Any]:
        return read_outcomes(self.layout.probe, max(0, guide_step - self.config.lookback), guide_step)

    def count(self, trajectories: Sequence[Trajectory], covered: int) -> None:
        self.tokens, self.covered = sum(len(t.response_token_ids) for t in trajectories), covered


class Stage(Way):
    """The guide stage's own code; what it loads once belongs to the first checkpoint."""

    maker: Maker | None = None

    def loaded(self, guide_step: int) -> Maker:
        if self.maker is None:
            walk = Walk(self.layout.probe, guide_step)
            engine = make_engine(self.config.engine, self.config.sampling, walk.policy)
            self.maker = Maker(self.context, walk, engine, self.verifier, self.problems, Progress("guide", 1))
        return self.maker

    def make(self, guide_step: int) -> None:
        covered, _ = make_guide(self.loaded(guide_step), guide_step)
        self.count([trajectory for trajectory, _ in read_shards(self.layout.guide_step(guide_step))], covered)


class AllTries(Stage):
    """The same walk and engine, without stopping where one of a prompt's samples is verified."""

    def make(self, guide_step: int) -> None:
        maker, outcomes = self.loaded(guide_step), self.outcomes(guide_step)
        maker.walk.to(guide_step)
        pool = [self.problems[i] for i in mistake_pool(outcomes, 0, guide_step, self.config.gate)]
        draws = [(problem, i) for problem in pool for i in range(self.config.samples)]
        trajectories = sample(maker.engine, maker.walk.policy, self.verifier, draws, "guide", 0, guide_step)
        verified = first_verified(trajectories)
        list(rescore(maker, guide_step, outcomes, verified))
        self.count(trajectories, len(verified))


class Naive(Way):
    """`from_pretrained` for every policy, `generate` with all k samples for every prompt that the probe saw in the lookback."""

    def __init__(self, made: Experiment) -> None:
        """The probe's checkpoints are given to it as plain model directories: making these is not counted."""
        super().__init__(made)
        walk, self.folder = Walk(self.layout.probe, 0), made.folder / "exported"
        for step in checkpoint_steps(self.config.checkpoint_every, self.config.guide_steps[-1]):
            walk.to(step)
            export_policy(walk.policy, self.folder / str(step))

    def make(self, guide_step: int) -> None:
        outcomes = self.outcomes(guide_step)
        prompts = [self.problems[i] for i in dict.fromkeys(outcome.problem_id for outcome in outcomes)]
        policy = load_policy(self.folder / str(guide_step), self.config.dtype)
        rows = max(1, self.config.engine.max_batch // self.config.samples)
        trajectories = [t for i in range(0, len(prompts), rows) for t in self.generate(policy, prompts[i : i + rows])]
        pool = set(mistake_pool(outcomes, 0, guide_step, self.config.gate))
        verified = {i: trajectory for i, trajectory in first_verified(trajectories).items() if i in pool}
        self.score(guide_step, outcomes, verified)
        self.count(trajectories, len(verified))

    @torch.inference_mode()
    def generate(self, policy: Any, problems: Sequence[Problem]) -> list[Trajectory]:
        batch = collate([(problem.prompt_token_ids, ()) for problem in problems], policy.pad_id, policy.device)
        sampling = self.config.sampling
        settings = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        ends = {"eos_token_id": list(policy.stop_ids), "pad_token_id": policy.pad_id}
        asked = GenerationConfig(max_new_tokens=sampling.max_new_tokens, num_return_sequences=self.config.samples, **settings, **ends)
        output = policy.model.generate(input_ids=batch.input_ids, attention_mask=batch.attention_mask, generation_config=asked)
        responses = [self.cut(row, policy.stop_ids) for row in output[:, batch.input_ids.shape[1] :].tolist()]
        draws = [(problem, i) for problem in problems for i in range(self.config.samples)]
        texts = policy.tokenizer.batch_decode(responses, skip_special_tokens=True)
        verdicts = self.verifier.judge([(problem, text) for (problem, _), text in zip(draws, texts, strict=True)])
        return [
            Trajectory(p.problem_id, i, p.prompt_token_ids, tuple(ids), (), verdict.reward, verdict.verified, "stop", text)
            for (p, i), ids, text, verdict in zip(draws, responses, texts, verdicts, strict=True)
        ]

    @staticmethod
    def cut(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
        end = next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))
        return ids[: end + 1]

    def score(self, guide_step: int, outcomes: Sequence[Any], verified: dict[str, Trajectory]) -> None:
        for segment in segments(
            checkpoint_steps(self.config.checkpoint_every, self.config.guide_steps[-1]), guide_step, guide_step - self.config.lookback
        ):
            failed = mistake_pool(outcomes, segment.start, segment.end, self.config.gate)
            if rows := [(verified[i].prompt_token_ids, verified[i].response_token_ids) for i in failed if i in verified]:
                current = load_policy(self.folder / str(segment.current_step), self.config.dtype)
                score(current.model, rows, current.pad_id, self.config.sampling.temperature, SCORE_TOKENS)
