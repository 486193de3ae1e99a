"""Each check of this machine looks for itself: what is wrong with one is said in its line, and the others go on."""

import importlib.metadata
import json

import jax
import pytest

from jepa_sweep import doctor
from jepa_sweep.engine import selfcheck
from jepa_sweep.engine.selfcheck import Answer
from jepa_sweep.errors import JepaSweepError, SpecError, StorageError

RIGHT = [Answer("jepa", "exact", 1e-15, 1e-12, 0), Answer("mae", "dopri8", 1e-9, 1e-6, 0)]
WRONG = [*RIGHT, Answer("mae", "tsit5", 0.07, 1e-6, 12)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing is compiled."""
    monkeypatch.setattr(doctor, "_answers_of_python", lambda: [])
    monkeypatch.setattr(selfcheck, "answers", lambda *_: RIGHT)
    monkeypatch.setattr(selfcheck, "remember", lambda *_: None)


@pytest.fixture
def examined(invoke, tmp_path):
    def call(*words):
        words = words if "--out" in words else (*words, "--out", tmp_path)
        text, facts = invoke("doctor", *words), invoke("doctor", *words, "--json")
        assert text.exit_code == facts.exit_code
        return text.exit_code, text.stdout, json.loads(facts.stdout)

    return call


def test_all_is_well(examined):
    code, text, facts = examined()
    assert (code, facts["ok"], facts["problems"]) == (0, True, {})
    assert text.endswith("all is well\n")
    assert {"python", "jax", "devices", "device", "checked", "exact", "dopri8", "files", "free disk"} <= facts.keys()


def break_package(patch):
    real = importlib.metadata.version

    def version(name):
        if name == "optax":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    patch.setattr(importlib.metadata, "version", version)


def break_devices(patch):
    def broken(*_):
        raise RuntimeError("jaxlib is for another jax")

    patch.setattr(jax, "devices", broken)


def break_solver(patch):
    def broken(*_):
        raise ValueError("no such primitive")

    patch.setattr(selfcheck, "answers", broken)


FAULTS = {  # what is wrong -> what is typed, the check that says so, the exit code, and part of what is said
    "device": (lambda _: None, ["--device", "gpu:3"], "device", SpecError, "JAX sees"),
    "files": (lambda _: None, ["--out", "/proc/nowhere"], "files", StorageError, "Could not create"),
    "package": (break_package, [], "optax", JepaSweepError, "optax must be installed, but it is missing; try `pip"),
    "devices": (break_devices, [], "devices", JepaSweepError, "RuntimeError: jaxlib is for another jax; try `pip"),
    "solver": (break_solver, [], "checked", JepaSweepError, "it raised ValueError: no such primitive"),
    "wrong": (
        lambda patch: patch.setattr(selfcheck, "answers", lambda *_: WRONG),
        [],
        "advice",
        JepaSweepError,
        "`tsit5` is wrong at 12 of 4,096 points",
    ),
}
EVERY = {"python", "numpy", "optax", "platform", "devices", "device", "checked", "files"}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_hides_nothing_else(examined, monkeypatch, fault):
    breaks, words, check, kind, said = FAULTS[fault]
    breaks(monkeypatch)
    code, text, facts = examined(*words)
    assert code == kind.exit_code
    assert (facts["ok"], list(facts["problems"])) == (False, [check])
    assert said in facts["problems"][check]
    assert facts.keys() >= EVERY
    assert not any("FAILED" in str(facts[name]) for name in EVERY - {check})
    line = next(line for line in text.splitlines() if line.startswith(f"{check} "))
    assert "FAILED: " in line
    assert said in line
    assert text.endswith("1 check failed, see above\n")


def test_numbers_that_are_wrong_are_shown_with_the_others(examined, monkeypatch):
    monkeypatch.setattr(selfcheck, "answers", lambda *_: WRONG)
    noted = []
    monkeypatch.setattr(selfcheck, "remember", noted.append)
    _, text, facts = examined()
    assert "7.0e-02" in facts["tsit5"]
    assert "1.0e-15" in text
    assert noted == []


def test_several_faults_are_all_told_and_the_first_is_the_exit_code(examined, monkeypatch):
    break_package(monkeypatch)
    code, text, facts = examined("--device", "gpu:3", "--out", "/proc/nowhere")
    assert list(facts["problems"]) == ["optax", "device", "files"]
    assert code == 1
    assert text.endswith("3 checks failed, see above\n")
    assert "exact" in facts
