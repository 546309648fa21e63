"""Which networks bound the attacks of a suite, where more than one may."""

from collections.abc import Mapping
from typing import Any

from jaxadv.perceptual import networks


def settle(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Decides every network of a suite that names another one to stand in.

    Args:
      fields: of the suite, all of them and plain; see `networks.settle`.

    Returns:
      The fields; and label -> what a reader of the attack's accuracy must know, of the
      attacks whose network has given way.

    Raises:
      UsageError: an `otherwise` is no name of a network.
    """
    attacks, notes = {}, {}
    for label, spec in fields["attacks"].items():
        attacks[label], told = networks.settle(spec)
        if told:
            notes[label] = f"{'; '.join(told)}, another ball than the suite's own"
    curve = {**fields["curve"], "attack": networks.settle(fields["curve"]["attack"])[0]}
    distances, _ = networks.settle(fields["distances"])
    return {**fields, "attacks": attacks, "curve": curve, "distances": distances}, notes


def noted(notes: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Both notes of every label."""
    both = {k: f"{notes[k]}; {more[k]}" for k in notes if k in more}
    return {**notes, **more, **both}
