"""Evaluates a checkpoint: `eval.py --config=configs/suites/linf.py --checkpoint=a`.

The same command goes on where a killed run stopped.
"""

import sys

from jaxadv.evaluation import command

if __name__ == "__main__":
    sys.exit(command.main(sys.argv))
