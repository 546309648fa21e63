"""Training: the loop over steps and epochs, with its checkpoints."""

import contextlib
import dataclasses
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import optax

from jaxadv import checkpoints, console, parallel, protocols
from jaxadv.data import augment
from jaxadv.defenses.base import Network, shared_memory
from jaxadv.files import checksums, locks, storage
from jaxadv.models import shipped
from jaxadv.specs import UsageError
from jaxadv.training import (
    changes,
    initial,
    log,
    meters,
    profiling,
    settings,
    wandb_writer,
)
from jaxadv.training.data import load_data
from jaxadv.training.notes import Notes, collapsed, told, told_collapse, told_end
from jaxadv.training.state import create_state, make_step
from jaxadv.training.validation import Validator

IN_FLIGHT = 8  # steps whose metrics are not waited for; on CPU each step is
INPUTS = ("image", "label", "id")
_CLEAN = {"clean_epochs": "the clean epochs"}


def run(
    config: settings.Config,
    folder: str | os.PathLike,
    *,
    validation: Sequence[Any] | None = None,
    change: Sequence[str] = (),
    profile: profiling.Profile | None = None,
) -> Notes:
    """Trains what `config` describes, or goes on where the run in `folder` stopped.

    A run that was killed ends, when started again, with the same weights bit for
    bit as one that was not (on the same number of devices). So does one that SIGTERM
    has asked to stop, which redoes nothing; see `parallel.heeded`. One run at a time
    is at work in a folder; see `locks`.

    More epochs continue a run that has ended. Schedules that depend on them are those
    of the new number from then on; what is given in epochs, as a warm-up or a patience,
    stays where it was, and so does the best checkpoint until a better one comes.

    Args:
      config: of the run.
      folder: of its outputs.
      validation: attacks in place of those that the config validates with, so that
        runs which train against different ones are judged alike.
      change: fields of the config that may be others than the run's in `folder`, some
        of `changes.FIELDS`.
      profile: the steps of which process 0 writes a trace.

    Raises:
      UsageError: a bad config or another one than the folder's, missing data, a
        folder in use, or a loss that is not a number.
      Stopped: it has been asked to stop, and all is saved.
    """
    folder = Path(folder)
    plan, as_json = settings.plan(config), settings.kept(config)
    parallel.check_batch(config.batch_size, config.accumulate_steps)
    if validation is not None:
        plan = plan.validated(tuple(validation))
    parallel.check_same(
        checksums.checksum_json(as_json),
        "--config: the processes were started with different configs",
    )
    changes.check(folder, as_json, change)
    loop = _Loop(config, plan, folder, profile)
    with contextlib.ExitStack() as stack:
        parallel.primary_first(lambda: _claim(stack, loop, as_json, change))
        store = checkpoints.Checkpoints(folder)
        stack.callback(store.close)
        stack.callback(loop.close)
        loop.start(store)
        while not loop.notes.finished:
            loop.epoch()
    return loop.notes


def _claim(stack, loop, fields, change):
    """Makes the folder this run's own, until `stack` is closed."""
    folder = loop.folder
    stack.enter_context(locks.hold(folder))
    storage.remove_temporary(folder)
    changes.check(folder, fields, change)  # another run may have come and gone
    step = checkpoints.recorded(folder)[1].get("step", 0)
    if step > loop.total:
        begun = f"begun epoch {step // loop.data.steps_per_epoch + 1}"
        raise changes.too_few(folder, fields["epochs"], begun)
    checkpoints.write_config(folder, fields)


class _Loop:
    """One start of a run: the compiled steps, the state and where it stands."""

    def __init__(self, config, plan, folder, profile=None):
        self.config, self.plan, self.folder = config, plan, folder
        self.data = load_data(config, plan.augmentations, plan.features)
        self.notes, self.step = Notes(), 0
        self.total = config.epochs * self.data.steps_per_epoch
        module = settings.network(config, self.data.train.num_classes)
        mean, std = tuple(config.normalize.mean), tuple(config.normalize.std)
        network = Network(module, mean, std, config.craft_bn)
        if not shipped(module):
            network.check(self.data.train.image_shape, self.data.train.num_classes)
        self.rate = settings.rate(config, self.data.steps_per_epoch)
        self.changes: list[dict[str, Any]] = []
        self.lines: Sequence[str] = ()
        self.initial, begin = None, {}
        if config.init_from and not checkpoints.recorded(Path(folder))[1]:
            classes, shape = self.data.train.num_classes, self.data.train.image_shape
            source = initial.load(config, network, classes, shape)
            self.initial, begin = source.record, {"begin": source.onto}
            self.lines = source.lines
        defenses = {phase.label: phase.defense for phase in plan.phases}
        image_shape = self.data.train.image_shape
        self.state = create_state(
            network,
            shared_memory(defenses, image_shape, len(self.data.train)),
            plan.optimizer.make(
                self.rate,
                plan.schedule.drops(self.data.steps_per_epoch),
                protocols.learns_noise(module),
            ),
            seed=config.seed,
            image_shape=image_shape,
            averaged=config.ema_decay is not None,
            examples=len(self.data.train),
            steps_per_epoch=self.data.steps_per_epoch,
            **begin,
        )
        self.train_step = profiling.Traced(
            parallel.mapped(self._step()), profile, lambda line: self.progress.say(line)
        )
        self.validate = Validator(
            network,
            plan.validation,
            self.data.held_out,
            config.seed,
            config.validation.batch_size,
        )
        self.pending = deque()
        self.writer: Any = None
        self.progress: Any = None

    def _step(self):
        config, per_epoch = self.config, self.data.steps_per_epoch
        change = augment.chain(self.data.augmentations)
        return make_step(
            config.seed,
            augment=lambda s, *rows: change(config.seed, s // per_epoch, *rows),
            soften=self.data.soften(self.plan.mixing),
            ema_decay=config.ema_decay,
            awp=self.plan.awp,
            accumulate_steps=config.accumulate_steps,
        )

    def start(self, store):
        """Restores, places the state on the devices and opens the outputs."""
        self.store, primary = store, parallel.is_primary()
        found = store.restore(_trees(self.state))
        parallel.check_same(
            0 if found is None else found[1]["step"],
            "--workdir: the processes find different checkpoints there; give a folder "
            "that all of them share",
        )
        if found is not None:
            trees, meta = found
            self.data.check_unchanged(meta, self.folder)
            self.state = self.state.replace(**trees["model"], **trees["training"])
            self.notes, self.step = Notes(**meta["notes"]), meta["step"]
            self._take_over(meta)
            if primary and meta["devices"] != jax.device_count():
                batch, stats = self.config.batch_size, self.state.batch_stats
                print(changes.moved(meta["devices"], jax.device_count(), batch, stats))
        parallel.check_same(
            0 if self.initial is None else self.initial["checksum"],
            "config.init_from: the processes find different weights there",
        )
        per_epoch, batch = self.data.steps_per_epoch, self.config.batch_size
        if self.notes.finished:
            if primary:
                print(f"{self.folder} is finished: {self.notes.finished}")
            return
        if primary:
            print(
                f"{'resuming at' if self.step else 'training from'} step {self.step} "
                f"of {self.total}: {len(self.data.train)} images, {per_epoch} steps "
                f"an epoch, batch {batch} on {jax.device_count()} "
                f"{jax.default_backend()} devices of {jax.process_count()} processes",
                *([] if self.step else self.lines),
                sep="\n",
                flush=True,
            )
            if self.data.note:
                print(f"NOTE: {self.data.note}", flush=True)
            self.writer = log.Writer(self.folder, self.step, self._others())
        self.progress = log.Progress(self.total, self.step, batch, primary)
        self.state = parallel.replicate(self.state)
        defenses = tuple(phase.defense for phase in self.plan.phases)
        self.defenses = parallel.replicate(defenses)
        self.batches = meters.Waits(self.data.batches(self.step))
        self.saved_at = time.monotonic()

    def _take_over(self, meta):
        """Goes on from a checkpoint whose config may have been another one."""
        found = changes.between(meta["config"], settings.kept(self.config))
        self.changes = [*meta.get("changes", ()), *changes.noted(found, self.step)]
        self.initial = meta.get("initial")
        ended, self.notes.finished = self.notes.finished, self._finished()
        if found and parallel.is_primary():
            for line in changes.told(found, meta["config"], self.rate, self.step,
                                     self.data.steps_per_epoch):  # fmt: skip
                print(line)
            judged = self.folder / "eval"
            if ended and judged.is_dir():
                print(f"{judged} judges the weights of {ended}: evaluate again")

    def _finished(self):
        """Why training is over, "" while it is not."""
        epoch, inside = divmod(self.step, self.data.steps_per_epoch)
        waited = epoch - max(self.notes.best_epoch, self.plan.warm_up)
        patience = self.config.patience
        if inside or self.notes.sums:
            return ""
        if self.step >= self.total:
            return f"{epoch} epochs"
        if patience and waited >= patience:
            return f"no better validation score for {patience} epochs"
        return ""

    def epoch(self):
        """Trains to the end of the epoch, validates and saves."""
        per_epoch = self.data.steps_per_epoch
        # A run that was asked to stop at the end of an epoch goes on with validation.
        if self.step % per_epoch or not self.notes.sums:
            self._train(per_epoch)
        self._end_of(self.step // per_epoch)

    def _train(self, per_epoch):
        number = self.plan.phase(self.step // per_epoch)
        defense, label = self.defenses[number], self.plan.phases[number].label
        called = "the training step"
        if number < len(self.defenses) - 1:
            called = f"the step of {_CLEAN.get(label, label)}"
        while True:
            batch = next(self.batches)
            batch = {name: batch[name] for name in (*INPUTS, *self.data.features)}
            with self.progress.making(called):
                self.state, values = self.train_step(
                    self.state, parallel.shard(batch), defense
                )
            self.step += 1
            self.pending.append((self.step, batch["id"], values))
            self._drain(0 if jax.default_backend() == "cpu" else IN_FLIGHT)
            self._heed()
            if self.step % per_epoch == 0:
                break
            if self._checkpoint_due():
                self._save()
        self._drain(0)

    def _heed(self):
        """Saves and raises `Stopped` where all processes are asked to stop."""
        if parallel.stops_here():
            self._save()
            raise console.Stopped(f"asked to stop (SIGTERM): step {self.step} is saved")

    def _save(self):
        self._drain(0)
        self.store.save(self.step, _trees(self.state), self._meta())
        self.saved_at = time.monotonic()

    def close(self):
        """Closes the outputs."""
        for output in (self.train_step, self.writer, self.progress):
            if output is not None:
                output.close()

    def _drain(self, in_flight):
        """Looks at the metrics of all steps but the last few, and records them."""
        while len(self.pending) > in_flight:
            step, ids, values = self.pending.popleft()
            values = {k: float(v) for k, v in jax.device_get(values).items()}
            for name in ("loss", "gradient_norm"):
                if not math.isfinite(values[name]):
                    raise UsageError(
                        f"step {step}: {name} is {values[name]} (example ids "
                        f"{', '.join(map(str, ids))}); lower "
                        "config.optimizer.learning_rate or set clip_norm; the last "
                        "checkpoint is kept"
                    )
            for name, value in values.items():
                self.notes.sums[name] = self.notes.sums.get(name, 0.0) + value
            self.progress.advance({"loss": values["loss"]})
            if self.writer is not None and step % self.config.log_steps == 0:
                values["learning_rate"] = float(self.rate(step - 1))
                self.writer.write(step, "train", values)

    def _checkpoint_due(self):
        every = self.config.checkpoint_steps
        if every and self.step % every == 0:
            return True
        due = time.monotonic() - self.saved_at > self.config.checkpoint_seconds
        if jax.process_count() == 1:
            return due
        # Clocks differ, so the first process decides for all, now and then.
        return self.step % 50 == 0 and bool(parallel.gather_rows(np.array([due]))[0])

    def _end_of(self, epoch):
        machine = meters.read(self.batches)
        start = time.monotonic()
        with self.progress.making("the validation"):
            params, batch_stats = self.state.evaluated
            if protocols.is_silent(self.defenses[self.plan.phase(epoch - 1)]):
                params = protocols.silent(self.state.network.module, params)
            scores = self.validate(params, batch_stats, self._heed)
        self.progress.pause(time.monotonic() - start)
        notes, steps = self.notes, self.data.steps_per_epoch
        means = {name: total / steps for name, total in notes.sums.items()}
        notes.enter(epoch, self.plan.warm_up)
        comparable = self.plan.comparable
        watched = self.plan.single_step and comparable and "robust" in scores
        lost = watched and collapsed(notes, scores)
        better = notes.take(epoch, scores, comparable)
        notes.sums = {}
        notes.finished = self._finished()
        if better:
            model = _trees(self.state)["model"]
            self.store.save_best(self.step, model, {**self._meta(), **scores})
        self._report(epoch, means, scores, lost, machine)
        self._save()

    def _report(self, epoch, means, scores, lost, machine):
        rate = self.progress.images_per_second
        if self.writer is not None:
            values = {f"train_{k}": v for k, v in means.items()}
            values |= {f"validation_{k}": v for k, v in scores.items()}
            values |= {"images_per_second": rate, "catastrophic_overfitting": lost}
            self.writer.write(self.step, "epoch", {"epoch": epoch, **values, **machine})
        pace = self.progress.pace(meters.line(machine))
        self.progress.say(
            f"epoch {epoch}/{self.config.epochs}  {told(means, scores)}  {pace}"
        )
        if lost:
            self.progress.say(told_collapse(self.notes, scores))
        if self.notes.finished:
            end = told_end(self.notes, scores, self.plan.comparable)
            self.progress.say(f"{end}; weights in {self.folder}")

    def _others(self):
        """Who is told of the run beside its own files."""
        project = settings.log(self.config).wandb
        config = settings.kept(self.config)
        return [wandb_writer.Writer(project, self.folder, config)] if project else []

    def _meta(self):
        return {
            "config": settings.kept(self.config),
            "notes": dataclasses.asdict(self.notes),
            "epoch": self.step // self.data.steps_per_epoch,
            "score": self.notes.best,
            "changes": self.changes,
            "initial": self.initial,
            "devices": jax.device_count(),
            "num_classes": self.data.train.num_classes,
            "image_shape": list(self.data.train.image_shape),
            "examples": len(self.data.train),
            "dataset": self.config.data.name,
            **self.data.fingerprints,
            "versions": {m.__name__: m.__version__ for m in (jax, flax, optax)},
        }


def _trees(state):
    """The state's two parts; see `checkpoints.Checkpoints`."""
    model = {"params": state.params, "batch_stats": state.batch_stats, "ema": state.ema}
    training = {
        "step": state.step,
        "opt_state": state.opt_state,
        "memory": state.memory,
    }
    return {"model": model, "training": training}
