"""The supply of a guided run: the verified guide trajectories of the guide stage's shards."""

from collections.abc import Mapping

from npo_pipeline.records import GuideTrajectory

Supply = Mapping[tuple[int, str], GuideTrajectory]  # by (guide_step, problem_id)
