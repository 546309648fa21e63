"""The command line: what it refuses, and a training that is killed again and again."""

import contextlib
import json
import random
import signal
import socket
import time

import jax
import pytest

from configs.minmax import cifar10_minmax, mnist5k_minmax, mnist_gat, mnist_minmax
from jaxadv import cli, configfiles, schema
from jaxadv.evaluation.suite.declared import KINDS
from jaxadv.perceptual import NETWORKS
from jaxadv.specs import UsageError
from jaxadv.training import log, settings
from tests import nets
from tests.paths import ROOT
from tests.trainings import checksums, finished, newest

CONFIG = "configs/baselines/mnist5k_pgd_at.py"


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Runs the command line with arguments; (status, stdout, stderr, runs)."""
    monkeypatch.chdir(ROOT)
    jax.devices()  # so that the number of devices is settled
    started = []

    def run(*arguments, check=settings.plan):
        status = cli.main(
            ["train.py", *arguments],
            lambda config, workdir: started.append((config, workdir)),
            check,
            help_text="Trains.",
            fields=schema.explain(settings.Training),
            whole_batch=True,
        )
        output = capsys.readouterr()
        return status, output.out, output.err, started

    return run


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.epoch=3"], "has no field 'epoch' (did you mean config.epochs?)"),
        (["--config.eps=1"], "did you mean config.attack.threat.eps?"),
        (["--config.epochs.more=1"], "config.epochs has no field 'more'"),
        (["--config.epochs=three"], "config.epochs"),
        (["--config.epochs=0"], "config.epochs is 0; it must be a whole number >= 1"),
        (["--config.epochs=-1"], "config.epochs is -1; it must be a whole number >= 1"),
        (["--config.attack.threat.eps=-0.1"], "eps is -0.1; it must be >= 0"),
        (["--config.attack.threat.eps=nan"], "config.attack.threat.eps is nan"),
        (["--config.attack.name=pdg"], "unknown name 'pdg' (did you mean 'pgd'?)"),
        (["--config.attack.threat.name=linfty"], "did you mean 'linf'?"),
        (["--config.attack.objective.name=entropy"], "config.attack.objective"),
        (
            ["--config.attack.step_size=0.1", "--config.attack.rel_step_size=0.1"],
            "exactly one of step_size and",
        ),
        (["--config.attack.keep=first"], "allowed: 'best', 'last'"),
        (["--config.model.name=lenet_v3"], "did you mean 'lenet_v2'?"),
        (["--config.model.compute_dtype=int8"], "must be a floating dtype"),
        (["--config.defense.name=adversary"], "did you mean 'adversarial'?"),
        (["--config.defense.mode=some"], "allowed: 'random', 'average', 'maximum'"),
        (["--config.optimizer.name=adm"], "did you mean 'adam'?"),
        (["--config.optimizer.learning_rate=-1"], "learning_rate is -1"),
        (["--config.schedule.name=step"], "did you mean 'steps'?"),
        (["--config.schedule.name=steps"], "drop_epochs is empty"),
        (["--config.data.name=mnist6k"], "did you mean 'mnist5k'?"),
        (["--config.data.augment=('flop',)"], "did you mean 'flip'?"),
        (["--config.data.validation=-1"], "config.data.validation is -1"),
        (["--config.normalize.std=(0.0,)"], "config.normalize.std is (0.0,)"),
        (["--config.ema_decay=1.5"], "config.ema_decay is 1.5"),
        (["--config.patience=0"], "config.patience is 0"),
        (["--config.batch_size=100"], "devices: give --config.batch_size=96 or 104"),
        (
            ["--config.accumulate_steps=3"],
            "128; it must be divisible by the 8 cpu devices x config.accumulate_steps=3"
            ": give --config.batch_size=120 or 144",
        ),
        (["--config.accumulate_steps=0"], "config.accumulate_steps is 0"),
        (["--cpu_devices=3"], "--cpu_devices is 3, but JAX already runs on 8"),
        (["--cpu_devices=0"], "cpu_devices"),
        (["--workdri=x"], "workdri"),
        (["--distributed"], "--coordinator"),
        (["stray"], "'stray' is no flag"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    call, tmp_path, monkeypatch, arguments, message
):
    # Without a cluster JAX may search for one, and starting twice is an error too.
    monkeypatch.setattr(jax.distributed, "initialize", _no_cluster)
    folder = tmp_path / "run"
    status, _, error, started = call(
        f"--config={CONFIG}", f"--workdir={folder}", *arguments
    )
    assert status == 2 and started == []
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not folder.exists()


def _no_cluster(*arguments):
    raise ValueError("coordinator_address should be defined")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config: give a config file"),
        (["--config"], "--config: the path of a config file is missing"),
        (["--config", CONFIG], "--workdir: give the folder"),
        (
            ["--config=configs/mnist5k_pgd_at.py", "--workdir=x"],
            "(did you mean configs/baselines/mnist5k_pgd_at.py?)",
        ),
        (
            ["--config=configs/mnist5k_pgd.py", "--workdir=x"],
            "no file 'configs/mnist5k_pgd.py' (did you mean configs/",
        ),
        (["--config=README", "--workdir=x"], "there is no file 'README'"),
        (["--config=demo", "--workdir=x"], "(did you mean configs/demo.py?)"),
    ],
)
def test_missing_files_and_flags(call, arguments, message):
    status, _, error, _ = call(*arguments)
    assert status == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("def get_config(:\n", "SyntaxError"),
        ("import nothing_like_this\n", "ModuleNotFoundError"),
        ("def get_config():\n    return {}\n", "returned no ConfigDict"),
        ("x = 1\n", "get_config"),
        (
            "from jaxadv.training import settings\n"
            "def get_config():\n"
            "    config = settings.default_config()\n"
            "    config.epoch = 3\n",
            "epoch",
        ),
        (
            "from jaxadv.training import settings\n"
            "def get_config():\n"
            "    config = settings.default_config()\n"
            "    config.model.name = 'lenet_v3'\n"
            "    return settings.complete(config)\n",
            "config.model: unknown name 'lenet_v3' (did you mean 'lenet_v2'?)",
        ),
    ],
)
def test_broken_config_files(call, tmp_path, text, message):
    path = tmp_path / "config.py"
    path.write_text(text)
    status, _, error, _ = call(f"--config={path}", "--workdir=x")
    assert status == 2 and message in error and error.count("\n") == 1


def test_overrides_reach_the_run_with_their_types(call, tmp_path):
    status, _, error, started = call(
        "--config",
        CONFIG,
        f"--workdir={tmp_path}",
        "--config.epochs=3",
        "--config.attack.threat.eps=1",
        "--config.patience=2",
        "--config.normalize.mean=(0.5,)",
        "--config.defense.only_attack_correct",
        "--noconfig.attack.random_start",
    )
    assert (status, error) == (0, "")
    ((config, workdir),) = started
    assert workdir == str(tmp_path)
    assert config.epochs == 3 and config.patience == 2
    assert config.attack.threat.eps == 1.0
    assert config.normalize.mean == (0.5,)
    assert config.defense.only_attack_correct is True
    assert config.attack.random_start is False


@pytest.mark.parametrize("given", ["step_size", "rel_step_size"])
def test_the_length_of_a_step_that_is_given_replaces_the_other(call, given):
    suites = ROOT / "configs" / "suites"
    config, suite = configfiles.load(CONFIG), configfiles.load(f"{suites / 'linf.py'}")
    sweep = configfiles.load(f"{suites / 'uar.py'}:cifar10,linf")
    for some, path in (
        (config, "attack"), (suite, "attacks.pgd_l2"), (sweep, "attacks.linf_1")
    ):  # fmt: skip
        flag, values = f"--config.{path}.{given}=0.25", cli._flags()
        values.workdir = "x"
        kinds = settings.KINDS if some is config else KINDS
        found = cli._parse(values, some, ["train.py", flag], kinds)
        for key in path.split("."):
            found = found[key]
        other = {"step_size", "rel_step_size"} - {given}
        assert found[given] == 0.25 and found[other.pop()] is None
    # One override does not spread to the others.
    assert suite.attacks.pgd_linf.rel_step_size == 0.1
    assert sweep.attacks.linf_2.rel_step_size == 200**-0.5
    assert sweep.attacks.linf_2.step_size is None


def test_argument_of_a_config_file(call, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from jaxadv.training import settings\n"
        "def get_config(seed):\n"
        "    config = settings.default_config()\n"
        "    config.seed = int(seed)\n"
        "    return settings.complete(config)\n"
    )
    started = call(f"--config={path}:7", "--workdir=x")[3]
    assert started[0][0].seed == 7


def test_help_names_every_flag_and_field(call):
    status, output, error, started = call("--help", f"--config={CONFIG}")
    assert (status, error, started) == (0, "", [])
    for flag in ("config", "workdir", "cpu_devices", "distributed", "coordinator"):
        assert f"--{flag}: " in output
    config = configfiles.load(CONFIG)
    for path in settings.flat(settings.plain(config)):
        assert f"--config.{path}=" in output
    assert "can be overridden" in output
    assert "Give --config too" in call("--help")[1]


def test_every_training_config_is_complete_and_sound(call, monkeypatch):
    for name in NETWORKS:  # whose weights are not here
        monkeypatch.setitem(NETWORKS, name, lambda path=None: nets.conv())
    paths = sorted((ROOT / "configs").rglob("[a-z]*.py"))
    checked = 0
    for path in paths:
        if path.parent.name == "suites":
            continue
        config = configfiles.load(str(path))
        if "defense" not in config:
            continue  # an evaluation
        plan = settings.plan(config)
        assert settings.plain(settings.complete(config)) == settings.plain(config)
        again = settings.recorded(json.loads(json.dumps(settings.plain(config))))
        assert settings.plain(again) == settings.plain(config)
        assert _types(again) == _types(config)
        assert not getattr(plan.defense, "attacks", ()) or plan.validation
        assert f"--config={path.relative_to(ROOT)}" in path.read_text()
        checked += 1
    assert checked >= 6


def _types(config):
    """The types that flags can give the fields."""
    found = {}
    for key in config:
        inner = config[key]
        group = hasattr(inner, "items")
        found[key] = _types(inner) if group else config.get_type(key)
    return found


@pytest.mark.parametrize("file", ["mnist_gat", "mnist5k_gat"])
def test_generalized_training_has_a_config_for_every_row(file):
    path = f"{ROOT / 'configs' / 'minmax' / file}.py"
    kinds = {"natural": "Clean", "linf": "Adversarial", "l2": "Adversarial",
             "usgd": "Universal"}  # fmt: skip
    for training in mnist_gat.TRAININGS:
        config = configfiles.load(f"{path}:lenet,{training}")
        defense = settings.plan(config).defense
        assert type(defense).__name__ == kinds.get(training, "Generalized")
        assert config.model.name == "lenet"
        eps = {a.threat.norm: a.threat.eps for a in getattr(defense, "attacks", ())}
        if training not in kinds:
            assert eps == {"linf": 0.2, "l2": 2.0}
            assert defense.diversity == (0.1 if "dpar" in training else 0.0)
            assert defense.weighting == training.removesuffix("_dpar")
            assert (defense.alpha, defense.beta) == (0.5, 0.5)
    for training in ("average", "average_dpar", "min_max", "min_max_dpar"):
        plain, raw = (
            configfiles.load(f"{path}:mlp,{training}{end}") for end in ("", "_raw")
        )
        defense = settings.plan(raw).defense
        assert defense.gradient == "raw"
        assert {a.step_size for a in defense.attacks} == {1 / 6}
        with raw.unlocked():  # nothing else is different
            raw.attacks, raw.defense.gradient = plain.attacks, plain.defense.gradient
        assert settings.plain(raw) == settings.plain(plain)
    with pytest.raises(UsageError, match="'linf_raw'.*min_max_dpar_raw"):
        configfiles.load(f"{path}:mlp,linf_raw")
    with pytest.raises(UsageError, match="'minmax' in 'mlp,minmax'.*'mlp,min_max'"):
        configfiles.load(f"{path}:mlp,minmax")


@pytest.mark.parametrize("file", [mnist_minmax, mnist5k_minmax, cifar10_minmax])
def test_min_max_attacks_have_a_config_for_every_network(file):
    for name in getattr(file, "MODELS", mnist_minmax.MODELS):
        config = configfiles.load(f"{file.__file__}:{name}")
        settings.plan(config)
        assert config.model.name == name
        fast = name in ("cifar_vgg16", "resnet50", "madry_wrn")
        rate = {"adam": 0.001, "sgd": 0.1 if fast else 0.01}[config.optimizer.name]
        assert config.optimizer.learning_rate == rate
    with pytest.raises(UsageError, match="'vgg' is not a network of this config"):
        configfiles.load(f"{file.__file__}:vgg")


# A real process ---------------------------------------------------------------------


def kill_when(process, folder, moment):
    """SIGKILL as soon as `moment(folder)`; whether the process was still running."""
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if moment(folder):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode == -signal.SIGKILL


def is_saving(folder):
    return any(folder.glob("checkpoints/*.orbax-checkpoint-tmp"))


def test_killed_runs_end_bit_for_bit_like_others(train, whole, tmp_path):
    parts = tmp_path / "parts"
    rng, kills = random.Random(time.time_ns()), 0
    delays = [rng.uniform(0.0, 0.2) for _ in range(2)]
    for i in range(3):
        before = newest(parts)
        process = train(parts)
        if i % 2:
            moment = lambda f, b=before: newest(f) > b and is_saving(f)  # noqa: E731
        else:
            start = []

            def moment(folder, start=start, wait=delays[i // 2], before=before):
                if newest(folder) > before:
                    start.append(time.monotonic())
                return bool(start) and time.monotonic() > start[0] + wait

        kills += kill_when(process, parts, moment)
    assert kills >= 2, f"killed {kills} times, delays {delays}"
    status, output, error = finished(train(parts))
    assert status == 0, error
    assert checksums(parts) == checksums(whole)
    assert log.timeless(parts) == log.timeless(whole)


def test_two_processes_train_like_one(train, whole, tmp_path):
    """One device each, and two devices of one process: the same bits."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = ("--distributed", f"--coordinator={address}", "--processes=2")
    with contextlib.ExitStack() as stack:
        processes = [
            train(tmp_path / "run", *common, f"--process_id={i}", devices=1)
            for i in range(2)
        ]
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for status, _, error in map(finished, processes):
            assert status == 0, error
    assert checksums(tmp_path / "run") == checksums(whole)
    assert log.timeless(tmp_path / "run") == log.timeless(whole)
