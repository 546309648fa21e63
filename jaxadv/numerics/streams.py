"""Named streams of random numbers, so that one key never serves two purposes.

In jax `split(key, n)[i]` is `fold_in(key, i)`: two functions that are handed one key
and divide it draw the same numbers, whichever way they do it. Where a key has a second
use, as a step's for the proposal and for the network's own noise, the second one takes
a stream of it by name.
"""

from typing import Any

import jax

# The number folded in for each name. They are beyond all counts of steps, restarts,
# domains and draws, and keep what is drawn once they are here; the two small ones are
# those of saved training runs, whose epochs and attacks are fewer.
NUMBERS = {
    "objective": 2**32 - 1,  # what an objective draws for the clean image
    "network": 2**32 - 2,  # a network's noise, beside other draws of its key
    "verification": 2**32 - 3,  # the network's noise at what an attack returns
    "judgement": 2**32 - 4,  # the network's noise where a result is judged
    "background": 2**32 - 5,  # the second region of a threat
    "mixing": 2**32 - 6,  # pairs of training images, beside the augmentation
    "training": 0x7E41,  # a step's attacks and dropout, beside the augmentation
    "validation": 0x5A11D,  # the attacks of validation
}


def stream(key: Any, name: str) -> Any:
    """The key of a stream of `key`, one of `NUMBERS`; None where `key` is None."""
    return None if key is None else jax.random.fold_in(key, NUMBERS[name])
