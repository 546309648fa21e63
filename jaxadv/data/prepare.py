"""Prepares a data set once: `python -m jaxadv.data.prepare NAME`.

Examples:

    python -m jaxadv.data.prepare shapes/64
    python -m jaxadv.data.prepare cifar10                  # downloads
    python -m jaxadv.data.prepare cifar10 --from ~/cifar-10-python.tar.gz
    python -m jaxadv.data.prepare imagenet100 --from /datasets/imagenet
"""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import tempfile
from pathlib import Path

from jaxadv import console, extras, specs
from jaxadv.data import catalog, own
from jaxadv.files import storage


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
) -> tuple[Path, bool]:
    """Writes the ArrayRecord files of a data set unless they are there.

    Args:
      name: a name of `catalog.DATASETS`, with or without a configuration.
      data_dir: where prepared sets lie; see `catalog.root`.
      source: files to read in place of a download; see `formats`.

    Returns:
      The folder of the prepared files, and whether it was written by this call.

    Raises:
      specs.UsageError: unknown name, missing or damaged files, no TensorFlow or
        no connection for a download. Nothing half-written is left.
    """
    if own.find(name, data_dir) is not None:
        raise specs.UsageError(f"{name} is read where it lies; it needs no preparing")
    plain, config, known = catalog.entry(name)
    root = catalog.root(data_dir).absolute()
    present = catalog.find(name, data_dir)
    if present:
        return present, False
    storage.check_folder(root, "--data_dir")
    folder = root / plain / (config or "")
    created = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        if source is not None:
            written = _write_from_files(plain, known, root, Path(source).expanduser())
        elif known.own:
            written = _write(_registered(plain, config, root))
        else:
            written = _download(plain, known, root)
    except BaseException as error:
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()  # only where it is empty
        present = catalog.find(name, data_dir)
        if present is None or not isinstance(error, OSError):
            raise
        return present, False  # another process was faster
    return written, True


def _write_from_files(plain, known, root, source: Path) -> Path:
    if known.files is None:
        able = ", ".join(n for n, e in catalog.DATASETS.data.items() if e.files)
        raise specs.UsageError(f"--from: not for {plain}; it can read: {able}")
    if not source.exists():
        raise specs.UsageError(f"--from: {source} does not exist")
    extras.needs("tensorflow_datasets", "data")
    from jaxadv.data import disk, formats

    contents = formats.READERS[known.files](source, plain)
    return _write(disk.FromFiles(contents, plain, known.version, root))


def _download(plain, known, root) -> Path:
    if not known.download:
        raise specs.UsageError(
            f"{plain} cannot be downloaded; give the folder it lies in with --from DIR"
        )
    from_files = ""
    if known.files:
        from_files = (
            f"use --from DIR, which needs no TensorFlow, with {known.published}, or "
        )
    instead = f"or else {from_files}copy {root / plain} from where it was prepared"
    if importlib.util.find_spec("tensorflow") is None:
        raise specs.UsageError(
            f"{plain}: preparing a download needs TensorFlow this once (pip install "
            f"-r requirements.txt tensorflow-cpu, or the extra 'prepare'); {instead}"
        )
    try:
        return _write(_registered(plain, None, root), root / "downloads")
    except Exception as error:  # tfds, requests and urllib3 each have their own
        reason = str(error).strip().partition("\n")[0][:200]
        raise specs.UsageError(
            f"{plain} could not be downloaded and prepared: {type(error).__name__}: "
            f"{reason}; check the connection, {instead}"
        ) from error


def _registered(plain, config, root):
    """The builder that tfds knows under a name."""
    tfds = extras.needs("tensorflow_datasets", catalog.DATASETS[plain].extra)
    if catalog.DATASETS[plain].own:
        importlib.import_module(f"jaxadv.data.{plain}")  # registers the builder
    full = f"{plain}/{config}" if config else plain
    return tfds.builder(full, data_dir=root, file_format="array_record")


def _write(builder, downloads: Path | None = None) -> Path:
    """Runs a builder, which works in a temporary folder and then renames it."""
    tfds = extras.needs("tensorflow_datasets", "data")
    extras.needs("array_record", "data")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.ExitStack() as stack:
        # tfds prints notices, and makes a folder even where nothing is fetched.
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if downloads is None:
            downloads = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        builder.download_and_prepare(download_dir=downloads)
    return Path(builder.data_path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = console.Parser(
        prog="jaxadv prepare",
        description="Prepares a data set once; later calls find it done.",
    )
    parser.add_argument("name", metavar="NAME", help=", ".join(catalog.DATASETS.data))
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="files on disk to use in place of a download",
    )
    parser.add_argument(
        "--data_dir",
        metavar="DIR",
        help="where prepared sets lie (default: $JAXADV_DATA_DIR, else ./data)",
    )
    flags = parser.parse_args(arguments)

    def work():
        folder, written = prepare(flags.name, flags.data_dir, flags.source)
        state = "prepared in" if written else "already prepared, nothing to do:"
        print(f"{flags.name}: {state} {folder}")

    return console.conclude(work)


if __name__ == "__main__":
    sys.exit(main())
