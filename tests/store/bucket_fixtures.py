"""The fixtures of tests on buckets: a plugin, named in `pytest_plugins`."""

import json
import os
from datetime import timedelta

import pytest
from bucket import Service, new

from jepa_sweep.store import bucket as buckets
from jepa_sweep.store import locate


@pytest.fixture(scope="module")
def running():
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def service(running, monkeypatch):
    """The service, with its address and credentials in the environment, and short time-outs."""
    for name in [n for n in os.environ if n.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    key = {"gcs_base_url": running.url, "disable_oauth": True, "client_email": "", "private_key": ""}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps({**key, "private_key_id": ""}))
    monkeypatch.setenv("GOOGLE_BASE_URL", running.url)
    monkeypatch.setattr(buckets, "CONNECT_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(buckets, "REQUEST_TIMEOUT", timedelta(seconds=0.6))
    monkeypatch.setattr(buckets, "RETRY_S", 0.5)
    monkeypatch.setattr(buckets, "LONGEST_PAUSE_S", 0.03)
    monkeypatch.setattr(buckets, "PAUSE_S", 0.01)
    running.heal()
    yield running
    running.heal()


@pytest.fixture(params=["memory", "s3", "gs"])
def bucket(request, service):
    return locate.at(new(request.param))


@pytest.fixture(params=["s3", "gs"])
def remote(request, service):
    return locate.at(new(request.param))
