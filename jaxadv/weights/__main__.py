"""The command line: shows what a weight file holds, converts it to our own form."""

import argparse
import sys
from pathlib import Path

from jaxadv import console
from jaxadv.weights import files, layouts, normalizations, own, tensors

EXAMPLES = """\
examples:
  python -m jaxadv.weights show alexnet-owt-7be5be79.pth
  python -m jaxadv.weights convert alexnet-owt-7be5be79.pth alexnet.safetensors \\
      --arch alexnet --normalization imagenet --trunk

Weights named ARCH.safetensors, ARCH.pth or ARCH.pt are found in
$JAXADV_WEIGHTS_DIR, by default ~/jaxadv_weights.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    flags = _parser().parse_args(arguments)
    if flags.command == "show":
        return console.conclude(lambda: _show(flags.file))
    return console.conclude(lambda: _convert(flags))


def _parser():
    parser = console.Parser(
        prog="jaxadv weights",
        description="Reads .safetensors, .pth and .pt files; runs nothing they hold.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="list the tensors of a file")
    show.add_argument("file", metavar="FILE", type=Path)
    convert = commands.add_parser(
        "convert", help="write a network as .safetensors that needs no --arch"
    )
    convert.add_argument("source", metavar="IN", type=Path)
    convert.add_argument("target", metavar="OUT.safetensors", type=Path)
    convert.add_argument("--arch", metavar="ARCH", help=", ".join(layouts.NAMES))
    convert.add_argument(
        "--normalization",
        metavar="NAME",
        help="where neither the file nor its sidecar says it: "
        f"{', '.join(normalizations.NORMALIZATIONS)}",
    )
    convert.add_argument(
        "--trunk",
        action="store_true",
        help="leave out the dense layers, which a distance does not need "
        f"({', '.join(layouts.TRUNKS)})",
    )
    return parser


def _show(path):
    found = tensors.read(path)
    for name, value in found.items():
        print(f"{name}  {'x'.join(map(str, value.shape)) or 'scalar'}  {value.dtype}")
    total = sum(value.size for value in found.values())
    print(f"{len(found)} tensors, {total:,} numbers")


def _convert(flags):
    own.check_target(flags.target)
    told = flags.arch, flags.trunk, flags.normalization
    # Of a trunk distances are measured, which no normalization makes easier to fool.
    weights = files.load(flags.source, *told, assumed=flags.trunk)
    golden = files.golden(flags.source)
    # Those are of all layers.
    kept = golden.json() if golden and not flags.trunk else None
    own.save(flags.target, weights, kept)
    print(f"{flags.target}: {type(weights.module).__name__}, mean {weights.mean}, "
          f"std {weights.std}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
