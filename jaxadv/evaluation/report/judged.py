"""What was judged, in a list: network, training, checkpoint, data, budget, suite."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxadv import protocols
from jaxadv.evaluation.report import headline
from jaxadv.evaluation.suite.planned import training_attacks
from jaxadv.evaluation.table import threat_name
from jaxadv.evaluation.writing.cells import PENALIZED, budget
from jaxadv.evaluation.writing.escape import code
from jaxadv.evaluation.writing.escape import markdown as shown
from jaxadv.threats import THREATS


def lines(report: Mapping[str, Any]) -> list[str]:
    """A Markdown list; what is not known is said to be so, or left out."""
    model = report["model"]
    found = (
        ("Network", _network(model, report)),
        ("Training", _training(model)),
        ("Checkpoint", _checkpoint(model)),
        ("Data", _data(report)),
        ("Budget", "; ".join(_budgets(report))),
        ("LPIPS", "; ".join(_networks(report))),
        ("Suite", _suite(report)),
        ("Software", _software(report["environment"])),
        ("Device", _device(report["environment"])),
    )
    return [f"- **{title}:** {words}" for title, words in found if words]


def _network(model, report):
    found = [code(model["architecture"])] if model.get("architecture") else []
    if isinstance(model.get("parameters"), int):
        found.append(f"{model['parameters']:,} parameters")
    return ", ".join([*found, f"{report['classes']} classes"])


def _training(model):
    """How it was trained: defense, attacks with eps, data, epochs."""
    training = model.get("training") or {}
    found = [code(model["defense"])] if model.get("defense") else []
    against = ", ".join(map(_trained, training_attacks(training)))
    if against:
        found.append(f"against {against}")
    data = training.get("data")
    if isinstance(data, Mapping) and data.get("name"):
        found.append(f"on {code(data['name'])}")
    found += _epochs(training)
    return ", ".join(found) or "not known"


def _epochs(training):
    epochs, clean = training.get("epochs"), training.get("clean_epochs")
    if not isinstance(epochs, int):
        return
    first = f", the first {clean} without the defense" if clean else ""
    phases = training.get("phases")
    specs = phases.values() if isinstance(phases, Mapping) else ()
    for spec in sorted(specs, key=lambda spec: spec.get("until", 0)):
        first += f", {code(spec.get('name', ''))} until epoch {spec.get('until')}"
    yield f"{epochs} epoch{'s' * (epochs != 1)}{first}"


def _trained(spec):
    threat = spec.get("threat")
    eps = threat.get("eps") if isinstance(threat, Mapping) else None
    steps = spec.get("steps")
    count = f" of {steps} steps" if isinstance(steps, int) else ""
    where = f" in {code(threat_name(spec))}" if threat else ""
    where += f", {PENALIZED}" * _unbounded(spec)
    bound = isinstance(eps, (int, float)) and budget(eps, threat_name(spec))
    return (
        f"{code(spec.get('name', ''))}{count}{where}{f' of eps {bound}' * bool(bound)}"
    )


def _unbounded(spec):
    name = threat_name(spec)
    return name in THREATS and protocols.unbounded(THREATS[name])


def _checkpoint(model):
    if not model.get("checkpoint"):
        return ""
    step = f", step {model['step']}" if model.get("step") is not None else ""
    which = f" ({shown(model['which'])}{shown(step)})" if model.get("which") else ""
    return f"{code(model['checkpoint'])}{which}"


def _data(report):
    changed = report["model"].get("data_changed")
    return (
        f"{code(report['dataset'])}, split {code(report['split'])}, "
        f"n = {report['examples']} images"
        + ("; **its files have changed since the training**" if changed else "")
    )


def _budgets(report) -> Iterator[str]:
    for name, budgets in headline.threats(report).items():
        for eps, labels in budgets.items():
            taken = ", ".join(map(code, labels))
            words = eps if eps == PENALIZED else f"eps {eps}"
            yield f"{code(name)}, {words} ({taken})"


def _networks(report) -> Iterator[str]:
    """The networks that LPIPS is measured in, and for what."""
    parts = {label: row.get("spec") or {} for label, row in report["attacks"].items()}
    parts = {label: spec.get("threat") for label, spec in parts.items()}
    found: dict[str, list[str]] = {}
    for label, spec in [*parts.items(), *report.get("lpips_distances", {}).items()]:
        for words in dict.fromkeys(_measured_in(spec)):
            found.setdefault(words, []).append(label)
    for words, labels in found.items():
        yield f"in {words} ({', '.join(map(code, labels))})"


def _measured_in(spec) -> Iterator[str]:
    """The network of each LPIPS distance or ball in a spec, in words."""
    if isinstance(spec, (list, tuple)):
        for part in spec:
            yield from _measured_in(part)
    if not isinstance(spec, Mapping):
        return
    if spec.get("name") == "lpips":
        network = spec.get("network")
        network = network if isinstance(network, Mapping) else {"name": network}
        path = f" of {code(network['path'])}" if network.get("path") else ""
        named = network.get("name")
        yield f"{code(named)}{path}" if named else "the attacked network"
    for part in spec.values():
        yield from _measured_in(part)


def _suite(report):
    draws = str(report["number_forward_passes"])
    words = f"{code(report['suite'])}, seed {report['seed']}, "
    words += f"{report['batch_size_per_device']} images at a time on each device"
    if draws != "1":
        words += f", judged by the mean prediction of {shown(draws)} draws"
    return words


def _software(env):
    return (
        f"jaxadv {shown(env['jaxadv'])}, jax {shown(env['jax'])}, jaxlib "
        f"{shown(env['jaxlib'])}, flax {shown(env['flax'])}, Python "
        f"{shown(env['python'])}"
    )


def _device(env):
    found = f"{env['devices']} x {shown(env['device'])}"
    if env.get("processes", 1) != 1:
        found += f" of {env['processes']} processes"
    return (
        f"{found}; matrix products at precision "
        f"{shown(env['attack_matmul_precision'])} in attacks, "
        f"{shown(env['verification_matmul_precision'])} when judged"
    )
