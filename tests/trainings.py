"""Real processes of train.py, and what they leave."""

import orbax.checkpoint as ocp

from jaxadv.checkpoints import Checkpoints


def finished(process):
    try:
        output, error = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, output, error


def newest(folder):
    steps = [int(p.name) for p in folder.glob("checkpoints/*") if p.name.isdigit()]
    return max(steps, default=0)


def checksums(folder):
    store = Checkpoints(folder)
    step = store._last.latest_step()
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    meta = store._last.restore(step, args=args)["meta"]
    store.close()
    return step, meta["checksums"]
