"""The foreign layouts of networks of patches, written out here once more."""


def layer(name, *shape):
    """A kernel and its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def mlp(name, width):
    fc1, fc2 = f"{name}.mlp.fc1", f"{name}.mlp.fc2"
    return layer(fc1, 4 * width, width) | layer(fc2, width, 4 * width)


def conv_stem(name, widths, inputs=3):
    """Convolution, normalization and activation in turn."""
    shapes = {}
    for index, width in enumerate(widths):
        shapes |= layer(f"{name}.stem.{3 * index}", width, inputs, 3, 3)
        shapes |= layer(f"{name}.stem.{3 * index + 1}", width)
        inputs = width
    return shapes


def convnext_shapes(blocks, width=4, stem=None, classes=7):
    """timm's; `stem` are the widths of convolutions in the place of patches."""
    shapes = layer("stem.0", width, 3, 4, 4) | layer("stem.1", width)
    if stem:
        shapes = conv_stem("stem", stem)
    for stage, count in enumerate(blocks):
        if stage:
            down = f"stages.{stage}.downsample"
            shapes |= layer(f"{down}.0", width)
            shapes |= layer(f"{down}.1", 2 * width, width, 2, 2)
            width *= 2
        for block in range(count):
            name = f"stages.{stage}.blocks.{block}"
            shapes[f"{name}.gamma"] = (width,)
            shapes |= layer(f"{name}.conv_dw", width, 1, 7, 7)
            shapes |= layer(f"{name}.norm", width) | mlp(name, width)
    return shapes | layer("head.norm", width) | layer("head.fc", classes, width)


def attention(name, width):
    shapes = layer(f"{name}.norm1", width) | layer(f"{name}.norm2", width)
    shapes |= layer(f"{name}.attn.qkv", 3 * width, width)
    return shapes | layer(f"{name}.attn.proj", width, width) | mlp(name, width)


def vit_shapes(depth=12, width=12, patch=16, grid=2, stem=None, classes=7):
    """timm's; `stem` are the widths of convolutions in the place of patches."""
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 1 + grid**2, width)}
    if stem:
        shapes |= conv_stem("patch_embed.proj", stem)
        shapes |= layer("patch_embed.proj.stem.12", width, stem[-1], 1, 1)
    else:
        shapes |= layer("patch_embed.proj", width, 3, patch, patch)
    for block in range(depth):
        shapes |= attention(f"blocks.{block}", width)
    return shapes | layer("norm", width) | layer("head", classes, width)


def swin_shapes(blocks, width=4, heads=1, window=2, classes=7):
    """timm's of 0.9 and later."""
    shapes = layer("patch_embed.proj", width, 3, 4, 4)
    shapes |= layer("patch_embed.norm", width)
    for stage, count in enumerate(blocks):
        if stage:
            down = f"layers.{stage}.downsample"
            shapes |= layer(f"{down}.norm", 4 * width)
            shapes[f"{down}.reduction.weight"] = (2 * width, 4 * width)
            width, heads = 2 * width, 2 * heads
        for block in range(count):
            name = f"layers.{stage}.blocks.{block}"
            table = f"{name}.attn.relative_position_bias_table"
            shapes[table] = ((2 * window - 1) ** 2, heads)
            shapes |= attention(name, width)
    return shapes | layer("norm", width) | layer("head.fc", classes, width)


def older_swin(tensors):
    """The same in the names of before: tokens are united at the end of a stage."""
    older = {}
    for name, value in tensors.items():
        if "downsample" in name:
            _, stage, rest = name.split(".", 2)
            name = f"layers.{int(stage) - 1}.{rest}"
        older[name.replace("head.fc", "head")] = value
    return older


SHAPES = {
    f"convnext_{kind}{form}": convnext_shapes(blocks, stem=stem if form else None)
    for kind, blocks, stem in (
        ("t", (3, 3, 9, 3), (2, 4)),
        ("s", (3, 3, 27, 3), (2, 4)),
        ("b", (3, 3, 27, 3), (2, 3, 4)),
        ("l", (3, 3, 27, 3), (2, 3, 4)),
    )
    for form in ("", "_convstem")
}
SHAPES |= {f"vit_{kind}16": vit_shapes() for kind in ("s", "b")}
SHAPES |= {
    "vit_s16_convstem": vit_shapes(stem=(2, 4, 8, 16)),
    "vit_b16_convstem": vit_shapes(stem=(1, 2, 4, 8)),
    "swin_t": swin_shapes((2, 2, 6, 2)),
    "swin_b": swin_shapes((2, 2, 18, 2)),
    "swin_l": swin_shapes((2, 2, 18, 2), heads=2, window=3),
}
