"""Trains a classifier: `train.py --config=configs/demo.py --workdir=runs/a`.

The same command goes on where a killed run stopped.
"""

import sys

from jaxadv import cli, schema
from jaxadv.training import loop, settings

if __name__ == "__main__":
    sys.exit(
        cli.main(
            sys.argv,
            loop.run,
            settings.plan,
            help_text=__doc__ or "",
            fields=schema.explain(settings.Training),
            whole_batch=True,
        )
    )
