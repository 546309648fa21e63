"""Eight virtual CPU devices, and a warning where a constant is captured."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_captured_constants_warn_bytes", 100_000)
