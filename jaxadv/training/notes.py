"""What a run remembers between steps, beside its weights."""

import dataclasses


@dataclasses.dataclass
class Notes:
    """What the loop remembers between steps; kept in every checkpoint as JSON.

    Attributes:
      sums: metric -> its sum over the steps of the unfinished epoch.
      best: best validation score of this phase, clean epochs or the defense's, so
        far; it selects the checkpoint.
      best_epoch: the epoch, counted from 1, that had it; 0 for none.
      best_robust: best robust validation accuracy of this phase so far, or None.
      last_clean: clean validation accuracy of the last epoch, or None.
      finished: why training is over, "" while it is not.
    """

    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    best: float = -1.0
    best_epoch: int = 0
    best_robust: float | None = None
    last_clean: float | None = None
    finished: str = ""

    def enter(self, epoch: int, warm_up: int) -> None:
        """Forgets the best of the `warm_up` clean epochs as soon as they are over."""
        if self.best_epoch <= warm_up < epoch:
            self.best, self.best_epoch, self.best_robust = -1.0, 0, None

    def take(self, epoch: int, scores: dict[str, float], comparable: bool) -> bool:
        """Notes an epoch's scores; whether it is the best one now.

        Where scores do not compare, or there are none, the last epoch is.
        """
        score = scores.get("robust", scores.get("clean", 0.0))
        better = score > self.best or not scores or not comparable
        if better:
            self.best, self.best_epoch = score, epoch
        if "robust" in scores:
            self.best_robust = max(scores["robust"], self.best_robust or 0.0)
        self.last_clean = scores.get("clean")
        return better


def collapsed(notes: Notes, scores: dict[str, float], points: float = 0.1) -> bool:
    """Whether robustness has just been lost while the clean accuracy has not.

    The robust validation accuracy is more than `points` below its best so far, and
    the clean one not more than `points` below that of the last epoch: catastrophic
    overfitting, the known failure of single-step adversarial training (Wong, Rice
    and Kolter, "Fast is better than free", 2020, section 5.4).
    """
    if notes.best_robust is None or notes.last_clean is None:
        return False
    robust, clean = scores["robust"], scores["clean"]
    lost = robust < notes.best_robust - points
    return lost and clean >= notes.last_clean - points


def told(means: dict[str, float], scores: dict[str, float]) -> str:
    """An epoch's means over its steps and its validation scores, in words."""
    return (
        f"loss {means['loss']:.4f}  "
        f"train robust {_percent(means, 'robust_accuracy')} "
        f"clean {_percent(means, 'clean_accuracy')}  "
        f"val clean {_percent(scores, 'clean')} robust {_percent(scores, 'robust')}"
    )


def told_collapse(notes: Notes, scores: dict[str, float]) -> str:
    """The warning that `collapsed` calls for."""
    best = _percent({"best": notes.best_robust}, "best")
    return (
        "WARNING: catastrophic overfitting: robust validation accuracy fell to "
        f"{_percent(scores, 'robust')} from {best} while the clean one did not; train "
        "with more attack steps or fewer epochs"
    )


def told_end(notes: Notes, scores: dict[str, float], comparable: bool) -> str:
    """Why training is over, and the score of the best or last epoch."""
    which = "best" if comparable else "last"
    best = f"{100 * notes.best:.1f}% at epoch {notes.best_epoch}" if scores else "-"
    return f"finished: {notes.finished}; {which} validation score {best}"


def _percent(values, name):
    return f"{100 * values[name]:.1f}%" if name in values else "-"
