"""The command line that train.py and eval.py share: flags to a checked config.

Whatever a user gets wrong ends as one line on stderr and exit status 2, before
anything is written.
"""

import difflib
import functools
import itertools
import json
import operator
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxadv import (
    completion,
    configfiles,
    console,
    overrides,
    parallel,
    programs,
    specs,
)
from jaxadv.files import storage
from jaxadv.schema import Kind
from jaxadv.specs import UsageError, UsageWarning
from jaxadv.training import settings

OVERRIDES = """\
Every field of the config can be overridden: --config.epochs=3
--config.attack.threat.eps=0.1 --config.normalize.mean='(0.5,)'. A value has the
type of the field; a field that is None takes its declared type, and None unsets one
that may be None; a fraction may be written 8/255. A step_size that is given takes the
place of the config's rel_step_size, and the reverse.

A name brings the fields of what it names, at a new label too, and an empty one takes it
away: --config.attacks.a.name=fgsm --config.attacks.a.threat.name=l2
--config.attacks.a.threat.eps=1. A network that a config names at several places is one:
flags for one of them, as --config.attack.threat.network.path, count for those that have
no flags of their own.
"""


def main(
    argv: Sequence[str],
    run: Callable[[ConfigDict, str], Any],
    check: Callable[[ConfigDict], Any],
    *,
    help_text: str,
    fields: dict[str, str],
    whole_batch: bool,
    kinds: Mapping[str, Kind] = settings.KINDS,
    recorded: Callable[[str], ConfigDict | None] = lambda folder: None,
    usage: str = "--config=FILE --workdir=FOLDER",
) -> int:
    """Parses `argv`, checks everything, and calls `run(config, workdir)`.

    Args:
      argv: the program's name and its arguments.
      run: does the work.
      check: raises UsageError for a config that cannot be run; it writes nothing.
      help_text: printed first by --help.
      fields: config path -> its meaning, for --help.
      whole_batch: `config.batch_size` counts the images of all devices together.
      kinds: the specs of the config, which are completed.
      recorded: the config of the run in a folder, or None; it is taken where there is
        no --config.
      usage: the flags that are needed, for --help.

    Returns:
      The exit status; see `console.conclude`.
    """
    _shorten_warnings()

    def work():
        values = _flags()
        path, rest = _config_path(argv)
        config = configfiles.load(path) if path else recorded(_workdir(rest))
        config = completion.complete(config, kinds) if config is not None else None
        if "--help" in rest or "-h" in rest or "-help" in rest:
            parts = {} if config is None else completion.explain(config, kinds)
            told = {**fields, **parts}
            print(
                _wrapped(_help(f"{argv[0]} {usage}", help_text, values, config, told))
            )
            return
        config = _parse(values, config, rest, kinds)
        if not values.workdir:
            raise UsageError("--workdir: give the folder of the run's outputs")
        batch: Any = config.get("batch_size") if whole_batch else None
        parts: Any = config.get("accumulate_steps", 1) if whole_batch else 1
        programs.keep(values.compilation_cache, values.distributed)
        # Before `check`, which may load networks: the first array settles the devices.
        _devices(values, _of_a_part(batch, parts))
        with parallel.heeded(together=whole_batch):
            check(config)
            if whole_batch:
                parallel.check_batch(batch, parts)
            storage.check_folder(values.workdir, "--workdir")
            run(config, values.workdir)

    return parallel.leave(console.conclude(work, "the same command goes on from here"))


def resolve(arguments: Sequence[str], kinds: Mapping[str, Kind]) -> ConfigDict:
    """The config that `--config=FILE` and its overrides describe.

    Raises:
      UsageError: it cannot be read; what it describes is not looked at.
    """
    _shorten_warnings()
    path, rest = _config_path(["", *arguments])
    config = completion.complete(configfiles.load(path), kinds) if path else None
    return _parse(_flags(), config, rest, kinds)


def own_flags(
    argv: Sequence[str], names: Mapping[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """The flags of one command alone, name -> value, and the arguments without them.

    Args:
      argv: the arguments.
      names: of the flags -> the value of one that stands alone; None: what follows it.
    """
    found, rest, arguments = {}, [], list(argv)
    while arguments:
        argument = arguments.pop(0)
        match = re.fullmatch(rf"--?({'|'.join(names)})(?:=(.*))?", argument)
        if match is None:
            rest.append(argument)
        elif match[2] is not None:
            found[match[1]] = match[2]
        elif (alone := names[match[1]]) is not None:
            found[match[1]] = alone
        else:
            found[match[1]] = arguments.pop(0) if arguments else ""
    return found, rest


def _shorten_warnings():
    """Tells what users are warned of in one line, as errors are."""
    otherwise = warnings.formatwarning
    if otherwise.__name__ == "brief":  # called before
        return

    def brief(message, category, *place):
        if issubclass(category, UsageWarning):
            return f"warning: {message}\n"
        return otherwise(message, category, *place)

    warnings.formatwarning = brief


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    text: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("workdir", None, "folder of the run's outputs", **text)
    flags.DEFINE_integer(
        "cpu_devices",
        None,
        "virtual devices where JAX runs on CPU (default: the largest power of two "
        "that the cores allow and the batch is divisible by)",
        lower_bound=1,
        **text,
    )
    flags.DEFINE_string(
        "compilation_cache",
        None,
        f"folder where compiled programs are kept, or {programs.OFF} (default: "
        "$JAX_COMPILATION_CACHE_DIR, or jaxadv/xla in the user's cache folder, none "
        "with --distributed)",
        **text,
    )
    flags.DEFINE_boolean("distributed", False, "join the run's other processes", **text)
    flags.DEFINE_string(
        "coordinator",
        None,
        "host:port of process 0; found out by itself on TPU pods, Slurm, Kubernetes",
        **text,
    )
    flags.DEFINE_integer("processes", None, "how many there are; as above", **text)
    flags.DEFINE_integer("process_id", None, "which one this is; as above", **text)
    flags.DEFINE_float(
        "start_timeout",
        parallel.START,
        "seconds that process 0 waits for the others to start, and they for it",
        lower_bound=0.0,
        **text,
    )
    return values


def _config_path(argv):
    """The value of --config, and the arguments without it."""
    path, rest, arguments = None, [], list(argv)
    while arguments:
        argument = arguments.pop(0)
        if re.fullmatch(r"--?config", argument):
            if not arguments:
                raise UsageError("--config: the path of a config file is missing")
            path = arguments.pop(0)
        elif match := re.fullmatch(r"--?config=(.*)", argument):
            path = match[1]
        else:
            rest.append(argument)
    return path, rest


def _workdir(arguments) -> str:
    """The value of --workdir, before the flags are read; "" without one."""
    pairs = itertools.zip_longest(arguments, arguments[1:], fillvalue="")
    for argument, following in pairs:
        if match := re.fullmatch(r"--?workdir(?:=(.*))?", argument, re.DOTALL):
            return following if match[1] is None else match[1]
    return ""


def _parse(values, config, argv, kinds) -> ConfigDict:
    if config is None:
        raise UsageError("--config: give a config file, one of configs/")
    argv = overrides.fractions(config, overrides.expand(config, argv, kinds))
    matches = [re.match(r"--?(?:no)?config\.([^=]+)", a) for a in argv[1:]]
    given = [match[1] for match in matches if match]
    for path in given:
        _check_field(config, path)
    _check_groups(config, argv)
    argv = overrides.unset(config, argv)
    # Absl keeps flags in a global unless told otherwise.
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=values, sys_argv=list(argv)
    )
    try:
        positional = values(list(argv))[1:]
    except (flags.Error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(str(error)) from None
    if positional:
        raise UsageError(f"{positional[0]!r} is no flag; flags begin with --")
    config = values["config"].value
    overrides.unset_replaced(config, given, kinds)
    _check_plain(config)
    return config


def _check_groups(config, argv):
    """Raises UsageError for a word in place of a group of fields."""
    for argument, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        match = re.match(r"--?config\.([^=]+)(?:=(.*))?$", argument, re.DOTALL)
        if match is None:
            continue
        path, value = match[1], following if match[2] is None else match[2]
        node = functools.reduce(operator.getitem, path.split("."), config)
        if isinstance(node, ConfigDict) and not value.lstrip().startswith("{"):
            inner = f"name={value}" if "name" in node else f"{next(iter(node), 'x')}=…"
            remedy = f"give --config.{path}.{inner}" if node else "set it in the file"
            raise UsageError(
                f"--config.{path} is {value!r}, but it is a group of fields: {remedy}"
            )


def _check_plain(config):
    """Raises UsageError for a field that is not given, or that no file can hold."""
    try:
        json.dumps(specs.plain(config))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--config: {error}; every field must be given, as a number, a text, "
            "True, False, None, a tuple or a group of these"
        ) from None


def _check_field(config, path):
    """Raises UsageError unless the dotted `path` is a field of `config`."""
    node: Any = config
    seen = "config"
    for key in path.split("."):
        known = list(node.keys()) if isinstance(node, ConfigDict) else []
        if key not in known:
            every = specs.flat(specs.plain(config))
            near = [f"config.{p}" for p in every if p.split(".")[-1] == key]
            if not near:
                near = difflib.get_close_matches(key, known, n=1)
                near = [f"{seen}.{name}" for name in near]
            hint = f" (did you mean {near[0]}?)" if near else ""
            allowed = ", ".join(known) or "none, it is a plain value"
            raise UsageError(
                f"--config.{path}: {seen} has no field {key!r}{hint}; it has: {allowed}"
            )
        node, seen = node[key], f"{seen}.{key}"


def _devices(values, batch) -> None:
    """Sets the number of CPU devices and joins other processes."""
    count = values.cpu_devices
    if count is None:
        count = 1
        while 2 * count <= _cores() and (batch is None or batch % (2 * count) == 0):
            count *= 2
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        # JAX is already running, as in a notebook or a test, with what it has.
        if values.cpu_devices not in (None, jax.local_device_count()):
            raise UsageError(
                f"--cpu_devices is {count}, but JAX already runs on "
                f"{jax.local_device_count()} devices"
            ) from None
    parallel.initialize(
        values.distributed,
        values.coordinator,
        values.processes,
        values.process_id,
        values.start_timeout,
    )


def _of_a_part(batch, parts) -> int | None:
    """The images of a part of a batch; None where that is no whole number."""
    sound = all(type(number) is int and number > 0 for number in (batch, parts))
    return batch // parts if sound and batch % parts == 0 else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wrapped(text: str) -> str:
    """Lines that a terminal is too narrow for, broken with their indent and more.

    Elsewhere, as behind a pipe, they stay whole and can be searched.
    """
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 40)
    return "\n".join(
        textwrap.fill(
            line, width, subsequent_indent=" " * 6, break_long_words=False,
            break_on_hyphens=False,
        )
        if len(line) > width
        else line
        for line in text.split("\n")
    )  # fmt: skip


def _help(usage, text, values, config, fields) -> str:
    lines = [text.strip(), "", f"usage: {usage}", ""]
    lines += ["flags:", "  --config: config file, FILE.py or FILE.py:ARGUMENT"]
    for flag in sorted(f.name for f in values.get_flags_for_module(__name__)):
        lines.append(f"  --{flag}: {values[flag].help}")
    lines += ["", OVERRIDES]
    if config is None:
        return "\n".join([*lines, "Give --config too, to see its fields."])
    lines.append("fields of this config, with their values:")
    told = set()
    for path, value in specs.flat(specs.plain(config)).items():
        key = path if path in fields else path.split(".")[0]
        note = "" if key in told else fields.get(key, "")
        told.add(key)
        lines.append(f"  --config.{path}={value!r}" + (f"  {note}" if note else ""))
    return "\n".join(lines)
