"""Trains a classifier: `train.py --config=configs/demo.py --workdir=runs/a`.

The same command goes on where a killed run stopped.
"""

import sys

from jaxadv import commands

if __name__ == "__main__":
    sys.exit(commands.train(sys.argv))
