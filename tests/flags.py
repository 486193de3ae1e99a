"""Flags of XLA for tests."""

import os

import jaxlib.version

# Programs that are quickly compiled: no LLVM optimisations, and none of loops, which take XLA a quarter of its time.
QUICKLY_COMPILED = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1"
    " --xla_disable_hlo_passes=simplify-while-loops,while-loop-invariant-code-motion,tree_reduction_rewriter"
)
if jaxlib.version.__version_info__ < (0, 11, 2):  # a later one knows a single way to emit loops, and aborts at the flag
    QUICKLY_COMPILED += " --xla_cpu_use_fusion_emitters=false"  # the older of two, a third quicker


def chosen():
    """The flags for programs of a process that a test starts: those that the user has set, else the quick ones."""
    return os.environ.get("XLA_FLAGS", QUICKLY_COMPILED)
