"""A window that its guide does not reach in whole is fitted, and that is said before anything runs."""

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.timeline import fitted_windows, resolve_timeline

ALL_ALONG = ("method=[npo_late]", "method.npo_late.windows=[{from_step:0.0,to_step:1.0,guide_step:1.0}]")


def test_a_window_that_begins_later_than_asked_for_is_named() -> None:
    root = load_root(overrides=ALL_ALONG)
    assert [(w.from_step, w.to_step) for w in resolve_timeline(root).methods["npo_late"].windows] == [(100, 200)]
    (line,) = fitted_windows(root)
    assert line.startswith("method.npo_late.windows[0] begins at step 100 instead of at step 0: guide checkpoint 200 has trajectories of")
    assert "(guidance.lookback; 1.0 for all)" in line


def test_what_it_says_helps() -> None:
    root = load_root(overrides=[*ALL_ALONG, "guidance.lookback=1.0"])
    assert [(w.from_step, w.to_step) for w in resolve_timeline(root).methods["npo_late"].windows] == [(0, 200)]
    assert fitted_windows(root) == []


def test_a_window_that_is_left_out_is_named() -> None:
    windows = "method.npo_late.windows=[{from_step:0.0,to_step:0.25,guide_step:1.0},{from_step:0.5,to_step:1.0,guide_step:1.0}]"
    (line,) = fitted_windows(load_root(overrides=["method=[npo_late]", windows]))
    assert line.startswith("method.npo_late.windows[0] is left out: guide checkpoint 200 has trajectories of the 100 steps before it")


def test_what_lies_before_the_runs_own_start_is_no_loss() -> None:
    """The guide reaches from step 100 on: of a run that begins at 150 nothing is cut, of one at 50 the steps up to 100."""
    assert fitted_windows(load_root(overrides=[*ALL_ALONG, "guided.start=150"])) == []
    (line,) = fitted_windows(load_root(overrides=[*ALL_ALONG, "guided.start=50"]))
    assert "begins at step 100 instead of at step 50" in line
    assert fitted_windows(load_root(overrides=["method=[npo]", "guidance.lookback=0.25", "guided.start=100"]))[0].startswith(
        "method.npo.windows[1] begins at step 150 instead of at step 100"
    )


def test_nothing_is_said_of_windows_as_they_were_asked_for() -> None:
    for experiment in ("default", "long", "scout", "plateau", "paper"):
        assert fitted_windows(load_root(experiment)) == []
