"""Where numbers come from, as it is kept beside them."""

from pathlib import Path

from jepa_sweep.running import provenance


def test_memory_is_known_where_the_kernel_does_not_say_its_peak(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tpython\nVmRSS:\t100 kB\n")
    assert provenance.peak_memory() > 2**20


def test_memory_is_the_peak_the_kernel_says(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: "VmPeak:\t9 kB\nVmHWM:\t5 kB\n")
    assert provenance.peak_memory() == 5 * 1024
