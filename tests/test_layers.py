"""Imports go down the list of the house only."""

import ast

from tests.paths import ROOT

# Lowest first. A file may import what stands before it.
ORDER = (
    "struct docstrings protocols hints specs extras plugins schema completion "
    "configfiles files console arrays numerics data models weights peers preemption "
    "rollcall parallel "
    "mapped adapters torch_adapter classifier checkpoints loading perceptual threats "
    "objectives attacks programs craft smoothing defenses training overrides cli "
    "evaluation sweep commands __main__"
).split()
# Within a folder, what its other files may import; each imports only from before it.
SHARED = {
    "attacks": ["base", "gradient", "minimal"],
    "attacks/gradient": ["ascent", "apgd"],
    "attacks/sampling": ["noise"],
    "attacks/minimal": ["common", "boundary", "constants"],
    "craft": ["journal", "base", "features", "arguments"],
    "data": (
        "images crops formats catalog rendering disk checked masks records own prepare "
        "sources batches"
    ).split(),
    "data/formats": ["contents"],
    "data/own": ["places"],
    "defenses": ["base", "inner", "gaussian"],
    "evaluation": (
        "writing table metrics suite judging checks run report corruptions "
        "certificates result opened tools"
    ).split(),
    "evaluation/checks": "base graph results normalization starts gradients".split(),
    "evaluation/certificates": ["summary"],
    "evaluation/corruptions": ["sets"],
    "evaluation/metrics": ["base", "accuracies", "foreign"],
    "evaluation/report": (
        "style page headline sheets judged explained document plots charts drawing"
    ).split(),
    "evaluation/judging": ["inputs", "judge", "stored"],
    "evaluation/run": ["meters", "bench"],
    "evaluation/suite": ["described", "planned", "declared", "settled"],
    "evaluation/writing": ["escape"],
    "files": ["storage"],
    "evaluation/tools": ["differences", "competitiveness"],
    "models": (
        "layers blur patches attention preact_resnet resnet wide_resnet alexnet vgg "
        "cifar_resnet"
    ).split(),
    "models/noisy": ["base"],
    "numerics": ["loops", "safe", "search", "balls", "projections"],
    "objectives": ["losses", "base", "untargeted", "transforms"],
    "perceptual": ["networks", "lpips", "jacobian", "projection"],
    "smoothing": ["sampler", "statistics"],
    "sweep": ["flags", "grid", "budgets", "plans", "steps", "results"],
    "threats": ["base", "lp"],
    "training": (
        "wandb_writer log profiling meters optim awp declared parts state validation "
        "settings data notes changes initial"
    ).split(),
    "weights": (
        "normalizations wrappers torch_files tensors layouts packages own sidecars "
        "files"
    ).split(),
    "weights/layouts": ["base", "plain"],
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module.split(".")[0] != "jaxadv":
                continue
            for alias in node.names:
                yield f"{node.module}.{alias.name}".split(".")[1:]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("jaxadv."):
                    yield alias.name.split(".")[1:]


def violations(path):
    parts = path.relative_to(ROOT / "jaxadv").with_suffix("").parts
    for target in imports_of(path):
        pairs = zip(parts, target, strict=False)
        depth = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if depth is None or (depth and parts[-1] == "__main__"):
            continue
        folder, own, other = "/".join(parts[:depth]), parts[depth], target[depth]
        if depth == 0:
            if ORDER.index(other) >= ORDER.index(own):
                yield f"{'/'.join(parts)} imports {other}, which is above it"
        elif _is_module(ROOT / "jaxadv" / folder / other):
            shared = SHARED.get(folder, [])
            before = shared[: shared.index(own)] if own in shared else shared
            if other not in before:
                yield f"{'/'.join(parts)} imports its sibling {other}"


def _is_module(path):
    return path.is_dir() or path.with_suffix(".py").exists()


def test_every_file_has_its_place():
    names = {p.relative_to(ROOT / "jaxadv").with_suffix("").parts[0]
             for p in (ROOT / "jaxadv").rglob("*.py")}  # fmt: skip
    assert names - {"__init__"} <= set(ORDER)


def test_imports_go_down():
    files = [p for p in (ROOT / "jaxadv").rglob("*.py") if p.name != "__init__.py"]
    found = [v for path in files for v in violations(path)]
    assert not found, "\n".join(found)


def probed(path):
    """The attribute names that a file asks parts for by hasattr and getattr."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("hasattr", "getattr") and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield name.value


def test_what_parts_may_offer_is_asked_in_one_file():
    package = ROOT / "jaxadv"
    optional = set(probed(package / "protocols.py"))
    assert {"passes", "goal_at", "norm", "bind"} <= optional
    for path in package.rglob("*.py"):
        if path.name != "protocols.py":
            assert not optional & set(probed(path)), path


def test_pmap_lives_in_one_file():
    users = [
        path.name
        for path in (ROOT / "jaxadv").rglob("*.py")
        if "pmap(" in path.read_text() and path.name != "parallel.py"
    ]
    assert not users


def test_other_libraries_are_asked_for_by_name_in_one_file():
    for path in (ROOT / "jaxadv").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and path.name != "adapters.py":
                given = {a.value for a in node.args if isinstance(a, ast.Constant)}
                assert not given & {"torch", "equinox"}, path


def test_no_tensorflow_or_torch_is_imported():
    for path in [*(ROOT / "jaxadv").rglob("*.py"), ROOT / "train.py", ROOT / "eval.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"tensorflow", "torch"}, path


CORE = "attacks threats objectives craft defenses numerics perceptual models".split()


def test_public_functions_of_the_core_are_annotated():
    """All arguments and what is returned, in the rooms that users write parts for."""
    bare = []
    for path in (p for room in CORE for p in (ROOT / "jaxadv" / room).rglob("*.py")):
        for function in public(ast.parse(path.read_text())):
            given = [*function.args.posonlyargs, *function.args.args]
            given += function.args.kwonlyargs
            names = [a.arg for a in given if a.annotation is None]
            if {*names} - {"self", "cls"} or function.returns is None:
                bare.append(f"{path.relative_to(ROOT)}: {function.name}")
    assert not bare


def public(node):
    for inner in getattr(node, "body", []):
        if isinstance(inner, ast.ClassDef) and not inner.name.startswith("_"):
            yield from public(inner)
        elif isinstance(inner, ast.FunctionDef):
            if inner.name == "__call__" or not inner.name.startswith("_"):
                yield inner
