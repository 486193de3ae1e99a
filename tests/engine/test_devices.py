"""Which devices compute changes nothing but the time it takes."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from batches import AS_COMPILED
from flags import chosen

from jepa_sweep.engine import devices
from jepa_sweep.errors import SpecError

SHARED = """
import json, sys
sys.path.insert(0, "tests/engine")
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 3)
from batches import CHI, JEPA, points, predict
from jepa_sweep.engine import devices, lanes
columns, p = points(50)
predicted = predict(columns, p)
out = {"seen": {name: [d.id for d in devices.pick(name)] for name in ("auto", "cpu", "cpu:0,1", "cpu:2", "cpu:2,0,2")}}
for device in ("cpu:0", "cpu", "cpu:2,1"):
    ours = lanes.solve(JEPA, columns, p, predicted, CHI, device=device, width=8)
    few = {name: values[:2] for name, values in columns.items()}  # fewer points than devices
    two = predicted.map(lambda field: field[:2])
    two = lanes.solve(JEPA, few, p[:2], two, CHI, device=device, width=8, batch=50)
    out[device] = {"time": ours.time.tolist(), "steps": ours.steps.tolist(), "lane_steps": ours.lane_steps,
                   "two": two.time.tolist()}
print(json.dumps(out))
"""


IMPLICIT = """
import json, jax
jax.config.update("jax_num_cpu_devices", 3)
import jepa_sweep as js
points = {"lam": [0.11, 0.59, 9.9, 0.19], "rho": [0.58, 1.14, 0.96, 0.88], "L": 1, "eps": [4.8, 7e-4, 8e-5, 1.76],
          "p": [2.8, 0.13, 0.64, 1.4]}
ours = js.solve("mae", **points, method="kvaerno5", rtol=1e-8)
print(json.dumps([ours.status.tolist(), abs(ours.time / js.critical_time("mae", **points) - 1).max()]))
"""


def say(script, **env):
    """What a fresh interpreter prints."""
    line = [sys.executable, "-W", "error", "-c", script]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env}
    done = subprocess.run(line, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.process
def test_any_number_of_devices_gives_the_same():
    said = say(SHARED, XLA_FLAGS=chosen())
    assert said.pop("seen") == {
        "auto": [0, 1, 2], "cpu": [0, 1, 2], "cpu:0,1": [0, 1], "cpu:2": [2], "cpu:2,0,2": [0, 2]
    }  # fmt: skip
    alone = said.pop("cpu:0")
    for several in said.values():
        assert several["steps"] == alone["steps"]
        for name in ("time", "two"):
            for ours, theirs in zip(several[name], alone[name], strict=True):
                assert ours == pytest.approx(theirs, rel=AS_COMPILED)
        assert sum(alone["steps"]) <= several["lane_steps"] <= 4 * sum(alone["steps"])


@pytest.mark.process
def test_an_implicit_method_solves_a_constant_field_where_there_are_several_devices():
    """Its linear solves cannot be dealt out to devices. With one layer dchi/dT of MAE is constant: the first guess of
    every stage is right but for rounding, if it is compiled as shipped, which the other tests are not.
    """
    status, error = say(IMPLICIT)
    assert status == ["learned"] * 4
    assert error <= 2e-8  # only the event errs: by rtol of chi, and |chi| dT/dchi < 2 T at these points


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("cpu:9", r"JAX sees 1 of this kind, numbered from 0; try 'cpu'"),
        ("cpu:0,9", "must name devices that are here"),
        ("auto:1", "must name devices that are here"),
        ("gpu:x", "must be one of auto, cpu, gpu, tpu, or name some of a kind like gpu:0,1, but it is 'gpu:x'"),
        ("cpu:", "must be one of"),
        ("cpu:-1", "must be one of"),
        ("cpu:0,", "must be one of"),
        ("CPU", "must be one of"),
        ("", "must be one of"),
        ("tpu:0", "JAX sees none here; try `auto`"),
    ],
)
def test_devices_that_are_not_there_are_explained(wanted, message):
    with pytest.raises(SpecError, match=message):
        devices.pick(wanted)


def test_one_of_a_kind():
    assert devices.pick("cpu:0") == devices.pick("cpu") == tuple(jax.local_devices(backend="cpu"))


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_lanes_that_fit_are_a_power_of_two_and_fewer_the_larger(platform):
    device = SimpleNamespace(platform=platform, memory_stats=lambda: {"bytes_limit": 16 << 30})
    sizes = [1, 7, 100, 1 << 10, (1 << 12) + 1, 1 << 16, 1 << 22, 1 << 28, 1 << 40]
    fitting = [devices.lanes_that_fit(device, size) for size in sizes]
    assert fitting == sorted(fitting, reverse=True)
    assert all(n & (n - 1) == 0 and n >= 8 for n in fitting)
    room = (4 << 20) if platform == "cpu" else (16 << 30) // 5
    assert all(n * size <= room or n == 8 for n, size in zip(fitting, sizes, strict=True))


def test_a_device_that_does_not_say_its_memory_gets_a_guess():
    silent = SimpleNamespace(platform="gpu", memory_stats=lambda: None)
    assert devices.lanes_that_fit(silent, 1 << 20) >= 8


@pytest.mark.process
@pytest.mark.parametrize(
    ("env", "said", "expected"),
    [
        ({}, "", "cores"),
        ({"JAX_NUM_CPU_DEVICES": "2"}, "", 2),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, "", 3),
        ({}, "jax.config.update('jax_num_cpu_devices', 1)", 1),
    ],
    ids=["alone", "variable", "flag", "config"],
)
def test_all_cores_are_used_unless_the_user_has_said_otherwise(env, said, expected):
    script = f"import jax\nfrom jepa_sweep.engine import devices\n{said}\ndevices.use_all_cores()"
    count = say(f"{script}\nprint(len(jax.devices()))", **env)
    assert count == (len(os.sched_getaffinity(0)) if expected == "cores" else expected)
