from __future__ import annotations

from recsys.training.checkpoint import Progress


def kept_after(recalls: list[float], count: int) -> tuple[list[int], int]:
    """Steps whose weights were kept, and the step of the best recall."""
    progress, kept = Progress(), []
    for step, recall in enumerate(recalls, start=1):
        progress.step = step
        progress.history.append({"step": float(step), "recall": recall})
        if progress.judge(recall, count):
            kept.append(step)
            assert progress.kept == {"step": step, "recall": recall}
    return kept, progress.best_step


def test_the_last_weights_within_one_standard_error_of_the_best_are_kept() -> None:
    """Of a recall of .5 over 100 items it is .05, over 10,000 items .005."""
    recalls = [0.3, 0.5, 0.46, 0.44, 0.47, 0.2]
    assert kept_after(recalls, 100) == ([1, 2, 3, 5], 2)
    assert kept_after(recalls, 10_000) == ([1, 2], 2)


def test_equal_recalls_keep_the_last_and_the_first_is_the_best() -> None:
    assert kept_after([1.0, 1.0, 0.99, 1.0], 50) == ([1, 2, 4], 1)
    assert kept_after([0.0, 0.0], 0) == ([1, 2], 1)
