"""Every program lowered for devices that are not here: what XLA would be given there, without compiling it."""

import functools
import re

import jax
import numpy as np
import pytest
from many import descent, flow, learn

import jepa_sweep as js
from jepa_sweep.engine import devices, lanes, programs, series
from jepa_sweep.physics import elementary
from jepa_sweep.physics.reduced import DYNAMICS

POINTS = {"lam": np.ones(2), "rho": np.full(2, 0.5), "L": np.full(2, 3.0), "eps": np.full(2, 1e-3)}
PRECISIONS = ("float64", "float32")
PLATFORMS = ("cuda", "tpu")


def solve(method, precision, **more):
    rtol = 1e-8 if precision == "float64" else 1e-4
    js.solve("jepa", **POINTS, method=method, precision=precision, rtol=rtol, **more)


def predict():
    lanes.predict(DYNAMICS["mae"], POINTS, np.full((2, 1), 0.5))


def estimate():
    series.estimate(np.full((1, 3), 0.5), np.ones((1, 3)), np.array([100]), np.array([0]))


SOLVES = {
    "rule": lambda precision: solve("auto", precision),
    "clock": lambda precision: solve("dopri8", precision),
    "samples": lambda precision: solve("dopri8", precision, t=np.linspace(0, 1, 5)),
    "forward": lambda precision: solve("dopri8", precision, coordinate="log_w"),
    "implicit": lambda precision: solve("kvaerno5", precision, coordinate="w"),
    "flow of networks": lambda precision: learn(flow("jepa", 1), 1, precision=precision),
    "training": lambda precision: learn(descent("mae", "adam"), 1, precision=precision),
}
BITS_OF_FLOAT64 = r"bitcast_convert \S+ : \(tensor<[^>]*f64>\)"
WAYS = {"predictions": predict, "series": estimate} | {
    f"{name}-{precision}": functools.partial(way, precision) for name, way in SOLVES.items() for precision in PRECISIONS
}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_every_program_can_be_lowered_for_accelerators(way, monkeypatch):
    """Without calls back to this host, and without the bits of float64, which a TPU does not have."""
    lowered = []

    def compiled(program):
        traced = program.function().trace(*program.arguments)
        lowered.extend(traced.lower(lowering_platforms=(platform,)).as_text() for platform in PLATFORMS)
        return lambda *_: [np.zeros(out.shape, out.dtype) for out in jax.tree.leaves(traced.out_info)]

    monkeypatch.setattr(programs, "compiled", compiled)
    monkeypatch.setattr(devices, "pick", lambda device="auto", real=devices.pick: real("cpu")[:1])
    WAYS[way]()
    assert lowered
    for text in lowered:
        assert "callback" not in text
        assert not re.search(BITS_OF_FLOAT64, text)


def test_a_processor_does_take_the_bits_of_float64():
    """So the pattern sees them where they are."""
    with jax.enable_x64(True):
        traced = jax.jit(elementary.log).trace(jax.ShapeDtypeStruct((8,), np.float64))
        lowered = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", *PLATFORMS)}
    assert [name for name, text in lowered.items() if re.search(BITS_OF_FLOAT64, text)] == ["cpu"]
