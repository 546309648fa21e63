"""Eight virtual CPU devices, and a warning where a constant is captured."""

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_captured_constants_warn_bytes", 100_000)


@pytest.fixture
def loops(monkeypatch):
    """Loops in place of unrolled steps: tiny networks run fast, compiling does not."""
    from jaxadv import numerics

    monkeypatch.setattr(numerics, "UNROLL_ON_CPU", False)
