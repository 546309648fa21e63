"""The files that start runs on clusters: what they would start, by commands of ours."""

import os
import shlex
import signal
import subprocess
import time

import pytest
import yaml

from jaxadv import console, peers
from tests.docs import pages

LAUNCH = pages.DOCS / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
# Notes how it is called, and ends with the next of $STATUSES, by default 0.
STUB = """#!/bin/bash
line=$(printf '%q ' "{name}" "$@")
echo "$line" >> "$CALLS"
statuses=($STATUSES)
exit ${{statuses[$(wc -l < "$CALLS") - 1]:-0}}
"""
OTHERS = {
    "srun": 'exec "$@"',
    "mpirun": 'while [ "$1" != bash ]; do shift; done; exec "$@"',
    "ssh": 'echo "host $2" >> "$HOSTS"; exec bash -c "$3"',
    "gcloud": 'for last; do :; done; exec bash -c "${last#--command=}"',
    "scontrol": 'echo "$@" >> "$HOSTS"',
}


@pytest.fixture
def dry(tmp_path):
    """`dry(file, *arguments)` runs a script where nothing is what it seems.

    Returns its status, the commands of ours that it would run, and what other hosts,
    or the scheduler, would be told.
    """
    bins, venv = tmp_path / "bin", tmp_path / "jaxadv" / ".venv" / "bin"
    bins.mkdir()
    venv.mkdir(parents=True)
    (tmp_path / ".venv").symlink_to(venv.parent)
    (tmp_path / "jaxadv" / "docs").symlink_to(pages.DOCS)
    (venv / "activate").touch()
    stubs = {bins / name: f"#!/bin/bash\n{text}\n" for name, text in OTHERS.items()}
    for path in (bins / "python", bins / "jaxadv", venv / "python"):
        stubs[path] = STUB.format(name=path.name)
    for path, text in stubs.items():
        path.write_text(text)
        path.chmod(0o755)
    calls, hosts = tmp_path / "calls", tmp_path / "hosts"

    def run(file, *arguments, statuses="", **more):
        environment = {
            **os.environ,
            **{"PATH": f"{bins}:{os.environ['PATH']}", "PAUSE": "0"},
            **{"CALLS": str(calls), "HOSTS": str(hosts), "STATUSES": statuses},
            **more,
        }
        found = subprocess.run(
            ["bash", str(LAUNCH / file), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, timeout=60,
        )  # fmt: skip
        made = [
            path.read_text().splitlines() if path.exists() else []
            for path in (calls, hosts)
        ]
        return found.returncode, *map(sorted, made)

    return run


@pytest.fixture
def understood(parse, capsys):
    """Holds command lines to what our parser understands."""

    def check(*lines):
        for line in lines:
            with pytest.raises(pages.Parsed):
                raise AssertionError(f"{parse(line)}: {capsys.readouterr().err}")

    return check


@pytest.mark.parametrize("path", SCRIPTS, ids=pages.name)
def test_scripts_are_bash(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_a_job_of_slurm_evaluates_behind_a_training(dry, understood):
    status, lines, told = dry("job.sbatch", SLURM_JOB_ID="7")
    assert (status, told) == (0, [])
    judge, train = lines
    assert train.startswith("jaxadv train --distributed --config=configs/baselines/")
    assert judge.startswith("jaxadv eval --distributed --config=configs/suites/")
    understood(train, judge.replace("runs/at", "runs/a"))


@pytest.mark.parametrize(
    "status, requeued", [(peers.STATUS, True), (137, True), (console.USER, False)]
)
def test_a_job_of_slurm_is_queued_again_where_that_helps(dry, status, requeued):
    ended, lines, told = dry("job.sbatch", statuses=str(status), SLURM_JOB_ID="7")
    assert (ended, len(lines)) == (status, 1)
    assert told == ["requeue 7"] * requeued


def test_slurm_is_asked_for_what_the_run_needs():
    lines = (LAUNCH / "job.sbatch").read_text().splitlines()
    given = [line.removeprefix("#SBATCH --") for line in lines if "#SBATCH" in line]
    fields = dict(line.partition("=")[::2] for line in given)
    assert fields["ntasks-per-node"] == fields["gpus-per-node"]
    assert fields["signal"] == "TERM@120" and "requeue" in fields
    assert fields["open-mode"] == "append"


def test_the_job_of_kubernetes_meets_at_its_first_pod(understood):
    service, job = yaml.safe_load_all((LAUNCH / "job.yaml").read_text())
    name, spec = job["metadata"]["name"], job["spec"]
    assert (service["kind"], service["apiVersion"]) == ("Service", "v1")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": name}
    assert (job["kind"], job["apiVersion"]) == ("Job", "batch/v1")
    assert spec["completionMode"] == "Indexed"
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] == "Never"  # which podFailurePolicy wants
    assert pod["terminationGracePeriodSeconds"] > peers.GRACE["stopped"]
    (container,) = pod["containers"]
    flags = dict(f.partition("=")[::2] for f in container["command"][2:])
    assert flags["--coordinator"].startswith(f"{name}-0.{pod['subdomain']}:")
    count = int(flags["--processes"])
    assert spec["completions"] == spec["parallelism"] == count
    assert flags["--process_id"] == "$(JOB_COMPLETION_INDEX)"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert flags["--workdir"].startswith(f"{mounted['shared']}/")
    line = shlex.join(container["command"])
    understood(line.replace("$(JOB_COMPLETION_INDEX)", "1").replace("'", ""))


def test_the_job_of_kubernetes_is_restarted_by_our_statuses():
    _, job = yaml.safe_load_all((LAUNCH / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    rules = {}
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes is None:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget"}]
            assert rule["action"] == "Ignore"
            continue
        assert codes["containerName"] == container["name"]
        assert codes["operator"] == "In"
        rules |= {code: rule["action"] for code in codes["values"]}
    assert rules == {peers.STATUS: "Ignore", console.USER: "FailJob"}


def test_every_host_is_one_process(dry, understood):
    status, lines, told = dry("ssh.sh", "a", "b", "c")
    assert (status, told) == (0, ["host a", "host b", "host c"])
    assert len(lines) == 3
    for number, line in enumerate(lines):
        common = "--distributed --coordinator=a:1234 --processes=3"
        assert line.startswith(f"python train.py {common} --process_id={number} ")
    understood(*lines)


def test_a_host_that_fails_is_told(dry):
    assert dry("ssh.sh", "a", "b", statuses="2")[0] == 2


def test_all_hosts_of_a_slice_run_one_command(dry, understood):
    status, lines, _ = dry("tpu.sh", statuses=str(peers.STATUS), TPU_NAME="t", ZONE="z")
    first, again = lines  # behind status 75
    assert status == 0 and first == again
    assert "--coordinator" not in first and "--distributed" in first
    understood(first)


def test_processes_of_mpi_say_who_they_are(dry, understood):
    rank = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
    status, (line,), _ = dry("mpi.sh", COORDINATOR="host0:1234", **rank)
    assert status == 0
    assert "--coordinator=host0:1234 --processes=2 --process_id=1" in line
    understood(line)


def test_processes_of_one_machine(dry, understood):
    more = "--config=configs/demo.py", "--workdir=runs/b"
    status, lines, _ = dry("local.sh", "2", *more)
    assert status == 0 and ["--process_id=1" in line for line in lines] == [False, True]
    own = " --cpu_devices=1"  # here jax runs already, on more
    assert all(own in line for line in lines)
    understood(*(line.replace(own, "") for line in lines))
    # Both fail: which one is first is left to chance.
    assert dry("local.sh", "2", *more, statuses="0 0 2 2")[0] == 2


def test_a_command_is_run_again_while_it_asks_for_it(dry):
    again = str(peers.STATUS)
    status, lines, _ = dry("again.sh", "jaxadv", "x", statuses=f"{again} {again} 2")
    assert (status, lines) == (2, ["jaxadv x "] * 3)


@pytest.mark.parametrize("file", ["again.sh", "local.sh"])
def test_who_is_asked_to_stop_asks_what_it_has_started(tmp_path, file):
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/bash\ntrap "echo asked >> told; exit 75" TERM\necho started >> told\n'
        "while true; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    count = {"again.sh": 1, "local.sh": 2}[file]
    given = ["python"] if count == 1 else ["2"]
    command = ["bash", str(LAUNCH / file), *given]
    told = tmp_path / "told"

    def lines():
        return told.read_text().splitlines() if told.exists() else []

    with subprocess.Popen(command, cwd=tmp_path, env=path) as process:
        deadline = time.monotonic() + 30
        while len(lines()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == peers.STATUS
    assert lines() == ["started"] * count + ["asked"] * count
