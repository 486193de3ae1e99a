"""Sweeps over the learning dynamics of JEPA and MAE, every row beside its closed form.

After Littwin et al. 2024, "How JEPA Avoids Noisy Features", arXiv 2407.03475. The public names stand in
`__init__.pyi` and load on first use, so importing has no side effects (no JAX setting changes, no device starts) and
the command line answers at once.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__version__ = "0.1.0"
