"""Eight virtual CPU devices, programs kept from run to run, no constants captured.

Programs are compiled without LLVM's optimizations, and where jaxlib still has them by
XLA's former emitters, which are three times as fast: tiny networks spend more time in
the compiler than running.
"""

import importlib.metadata
import os
import platform
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        if importlib.metadata.version("jaxlib").startswith("0.10.")  # later lack it
        else "",
    )
)

# The processes that tests start keep none, and least of all in the user's home.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")

import jax
import jaxlib

# Programs of another jaxlib or processor must not be loaded.
KEPT = f".pytest_cache/programs-{jaxlib.__version__}-{platform.node()}"

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_captured_constants_warn_bytes", 100_000)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / KEPT))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def lowered():
    """Says, as JAX does before it compiles, that lowering took so many seconds."""
    event = "/jax/core/compile/jaxpr_to_mlir_module_duration"
    return lambda seconds: jax.monitoring.record_event_duration_secs(event, seconds)


@pytest.fixture(scope="module", autouse=True)
def programs():
    """Lets go of a file's programs behind it: a process can map so many only."""
    yield
    jax.clear_caches()
