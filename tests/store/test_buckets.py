"""Buckets keep the promises of folders, also where requests fail, are repeated, or lose their answers."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from bucket import LOST, new

from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.store import bucket as buckets
from jepa_sweep.store import locate, writer_names
from jepa_sweep.store.bucket import Bucket
from jepa_sweep.store.location import DAMAGED, STAGING, WORKING, Missing, TooLarge
from jepa_sweep.store.records import sha256

pytest_plugins = ["bucket_fixtures"]
CASES = pytest.mark.parametrize(  # waiting costs time, so only one of the two is waited for
    ("remote", "fault"), [*(("s3", fault) for fault in LOST), ("gs", LOST[1]), ("gs", LOST[2])], indirect=["remote"]
)
DATA = bytes(range(256)) * 300


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_a_bucket_knows_its_names(bucket):
    assert isinstance(bucket, Bucket)
    assert locate.at(f"{bucket.path}/").path == bucket.path
    assert bucket.where("points/000001.parquet") == f"{bucket.path}/points/000001.parquet"


def test_what_is_published_is_there_whole_and_stays(bucket):
    assert not bucket.exists("points/1")
    assert bucket.publish("points/1", DATA)
    assert bucket.exists("points/1")
    assert bucket.publish("points/1", DATA)  # by us, whose answer was lost
    assert not bucket.publish("points/1", b"of another writer")
    assert not bucket.publish("points/1", DATA[::-1])
    assert bucket.read("points/1") == DATA
    assert locate.at(bucket.path).read("points/1") == DATA
    assert bucket.walk() == ["points/1"]


def test_ends_of_files(bucket):
    bucket.publish("a", b"hello")
    bucket.publish("empty", b"")
    assert [bucket.read_end("a", count) for count in (0, 3, 5, 9)] == [b"", b"llo", b"hello", b"hello"]
    assert [bucket.read("empty"), bucket.read_end("empty", 0), bucket.read_end("empty", 8)] == [b""] * 3


def test_a_missing_object_is_missing(bucket):
    for read in (bucket.read, lambda name: bucket.read_end(name, 8)):
        with pytest.raises(Missing, match=rf"must be an object {bucket.where('points/1')}, but it is missing"):
            read("points/1")
    assert bucket.names("points") == bucket.walk() == []


def test_names_come_sorted_from_all_pages(bucket, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    numbers = [f"{n:06d}" for n in range(12)]
    for number in numbers[::-1]:
        bucket.publish(f"points/{number}.parquet", b"1")
    bucket.publish("points/notes #1 50% é.txt", b"1")
    obstore.put(bucket._store, "points/deeper/000001.parquet", b"1")  # of somebody else
    bucket.publish("points-of-view/000001.parquet", b"1")
    assert bucket.names("points", ".parquet") == [f"{n}.parquet" for n in numbers]
    assert len(bucket.names("points")) == 13
    assert len(bucket.walk()) == 15
    assert "points/deeper/000001.parquet" in bucket.walk()
    assert bucket.read("points/notes #1 50% é.txt") == b"1"


def test_damaged_objects_are_set_aside_and_their_names_are_free(bucket):
    bucket.publish("points/1", b"damaged")
    bucket.set_aside("points/1")
    bucket.set_aside("points/1")
    assert not bucket.exists("points/1")
    (name,) = bucket.names(DAMAGED)
    assert name.startswith("points-1.")
    assert bucket.read(f"{DAMAGED}/{name}") == b"damaged"
    assert bucket.publish("points/1", b"mended")


def test_what_another_has_mended_is_not_set_aside(bucket, monkeypatch):
    bucket.publish("points/1", b"damaged")
    copy = buckets.obstore.copy

    def overtaken(store, source, target):
        copy(store, source, target)
        buckets.obstore.put(store, source, b"mended")

    monkeypatch.setattr(buckets.obstore, "copy", overtaken)
    bucket.set_aside("points/1")
    assert bucket.read("points/1") == b"mended"


def test_marks_come_and_go_and_those_of_dead_writers_are_cleared(bucket):
    alive = writer_names.enlist()
    host = alive.split("-")[0]
    names = [f"{alive}.x", f"{host}-{os.getpid()}-{'0' * 12}.x", f"elsewhere-1-{'0' * 12}.x"]
    for name in names:
        bucket.mark(f"{WORKING}/{name}")
        bucket.mark(f"{WORKING}/{name}")
    bucket.publish(f"{STAGING}/{names[1]}", b"probe")
    assert bucket.names(WORKING) == sorted(names)
    writer_names.clear_leftovers(bucket)
    assert bucket.names(WORKING) == sorted([names[0], names[2]])
    assert bucket.names(STAGING) == []
    bucket.unmark(f"{WORKING}/{names[0]}")
    bucket.unmark(f"{WORKING}/{names[0]}")
    assert bucket.names(WORKING) == [names[2]]
    writer_names.dismiss(alive)


def test_preparing_leaves_nothing_behind_and_asks_once(bucket, service):
    bucket.prepare(("points",))
    assert bucket.walk() == []
    service.seen.clear()
    bucket.prepare(("points",))
    assert not service.seen


def write_at_once(url, name, count=8):
    """Several writers of one name: what each was told, and what each wanted there."""
    barrier = threading.Barrier(count)

    def write(number):
        mine = Bucket(url)
        data = f"claim of writer {number}".encode() * 50
        barrier.wait()
        return mine.publish(name, data), data

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(write, range(count)))


def test_of_several_writers_one_has_the_name(bucket):
    said = write_at_once(bucket.path, "points/1")
    (winner,) = [data for won, data in said if won]
    assert bucket.read("points/1") == winner
    assert bucket.walk() == ["points/1"]


def test_several_readers_share_a_bucket(bucket):
    for number in range(6):
        bucket.publish(str(number), DATA[number:])
    with ThreadPoolExecutor(6) as pool:
        read = list(pool.map(bucket.read, [str(n % 6) for n in range(24)]))
    assert read == [DATA[n % 6 :] for n in range(24)]


# --- faults -----------------------------------------------------------------------------------------------------------


@CASES
def test_a_lost_answer_does_not_lose_the_object(remote, service, fault):
    service.fail(fault)
    assert remote.publish("points/1", DATA)
    assert remote.read("points/1") == DATA
    assert remote.walk() == ["points/1"]
    assert service.seen[0].fault == fault


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
@pytest.mark.parametrize("faults", [LOST[1:], LOST[::-1]])
def test_several_lost_answers_in_a_row(remote, service, faults):
    service.fail(*faults)
    assert remote.publish("points/1", DATA)
    assert remote.read("points/1") == DATA


@pytest.mark.parametrize("remote", ["s3"], indirect=True)
@pytest.mark.parametrize("fault", LOST[1:])
def test_an_object_is_found_though_no_answer_ever_came(remote, service, fault):
    service.choose = lambda method, path: fault if method == "PUT" else None
    assert remote.publish("points/1", DATA)
    assert remote.read("points/1") == DATA


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_bits_that_flip_on_the_way_do_not_stay(service, kind):
    """Amazon compares the checksum that is sent with the data; Google returns one, which we compare."""
    bucket = Bucket(new(kind))
    service.fail("damaged")
    if kind == "s3":
        assert bucket.publish("points/1", DATA)
        assert bucket.read("points/1") == DATA
    else:
        with pytest.raises(StorageError, match=r"Could not write gs://.*/points/1: it did not read back as written"):
            bucket.publish("points/1", DATA)


@CASES
def test_a_rival_in_between_keeps_the_name(remote, service, fault):
    rival = Bucket(remote.path)

    def choose(method, path):
        if method != "PUT" or not path.endswith("points/1"):
            return None
        service.choose = lambda method, path: None
        assert rival.publish("points/1", b"of the rival")
        return fault

    service.choose = choose
    assert not remote.publish("points/1", DATA)
    assert remote.read("points/1") == b"of the rival"


@pytest.mark.wait
@pytest.mark.parametrize("seed", range(3))
def test_of_several_writers_one_has_the_name_whatever_fails(remote, service, seed):
    service.fail_at_random(seed, {"PUT": (0.5, (*LOST, *LOST[:3])), "GET": (0.2, ("busy", "cut short"))})
    said = write_at_once(remote.path, "points/1")
    (winner,) = [data for won, data in said if won]
    service.heal()
    assert remote.read("points/1") == winner
    assert remote.walk() == ["points/1"]


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_service_that_is_down_is_named_and_nothing_is_seen(remote, service):
    service.choose = lambda method, path: "busy"
    with pytest.raises(StorageError, match=r"Could not write \w+://.*/points/1: the service is busy.*run the same"):
        remote.publish("points/1", DATA)
    service.heal()
    assert remote.walk() == []


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_service_that_comes_back_is_waited_for(remote, service, monkeypatch):
    monkeypatch.setattr(buckets, "RETRY_S", 20.0)
    service.fail(*["busy"] * 16)
    assert remote.publish("points/1", DATA)
    assert service.count("PUT") == 17


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_what_was_done_before_the_service_went_down_is_found_again(remote, service):
    service.choose = lambda method, path: "done, then busy" if method == "PUT" else "busy"
    with pytest.raises(StorageError, match="the service is busy"):
        remote.publish("points/1", DATA)
    service.heal()
    assert remote.publish("points/1", DATA)
    assert remote.read("points/1") == DATA


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_an_answer_that_never_comes_is_waited_for_only_so_long(remote, service):
    service.choose = lambda method, path: "done, then late"
    with pytest.raises(StorageError, match=r"Could not read .*: the service did not answer in time"):
        remote.read("points/1")


@pytest.mark.wait
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
@pytest.mark.parametrize("fault", ["busy", "cut short", "done, then closed", "done, then late"])
def test_reading_is_tried_again(remote, service, fault):
    remote.publish("points/1", DATA)
    reads = (
        (lambda: remote.read("points/1"), DATA, "GET"),
        (lambda: remote.read_end("points/1", 9), DATA[-9:], "GET"),
        (lambda: remote.names("points"), ["1"], "GET"),
        (remote.walk, ["points/1"], "GET"),
        (lambda: remote.exists("points/1"), True, "HEAD"),
    )
    for read, expected, method in reads if fault != "done, then late" else reads[::2]:
        service.fail(fault, method=method)
        assert read() == expected


@pytest.mark.wait
@CASES
def test_setting_aside_is_tried_again(remote, service, fault):
    for method in ("PUT", "DELETE" if remote.path.startswith("gs") else "POST"):
        remote.publish("points/1", b"damaged")
        service.fail(fault, method=method)
        remote.set_aside("points/1")
        assert not remote.exists("points/1")
    assert len(remote.names(DAMAGED)) == 2


def test_a_mark_that_cannot_be_taken_away_is_left(remote, service):
    remote.mark(f"{WORKING}/x")
    service.seen.clear()
    service.choose = lambda method, path: "forbidden"
    remote.unmark(f"{WORKING}/x")
    assert [one.fault for one in service.seen] == ["forbidden"]  # once is enough, as others clear it
    service.heal()
    assert remote.names(WORKING) == ["x"]


@pytest.mark.wait
@CASES
def test_preparing_bears_faults(remote, service, fault):
    service.fail(fault, None, fault)
    remote.prepare(())
    assert remote.walk() == []


# --- what the user has to mend ----------------------------------------------------------------------------------------


def test_a_service_that_overwrites_is_refused(remote, service):
    service.overwrites = True
    with pytest.raises(StorageError, match=r"must refuse to put an object under a name that is taken.*or a folder"):
        remote.prepare(())
    assert remote.walk() == []


def test_no_permission_is_said_at_once(remote, service):
    service.choose = lambda method, path: "forbidden"
    name = "AWS_ACCESS_KEY_ID" if remote.path.startswith("s3") else "GOOGLE_APPLICATION_CREDENTIALS"
    with pytest.raises(StorageError, match=rf"Could not write .*: there is no permission; check {name}"):
        remote.publish("points/1", DATA)
    assert service.count("PUT") == 1
    calls = (lambda: remote.read("a"), lambda: remote.names("a"), remote.walk, lambda: remote.exists("a"))
    for call in (*calls, lambda: remote.mark("a"), lambda: remote.set_aside("a")):
        with pytest.raises(StorageError, match="there is no permission"):
            call()


@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_another_region_is_said_at_once(remote, service):
    service.choose = lambda method, path: "elsewhere"
    with pytest.raises(StorageError, match="the bucket is in another region; set AWS_REGION"):
        remote.publish("points/1", DATA)
    assert service.count("PUT") == 1


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_missing_bucket_is_said_at_once(service, kind):
    bucket = Bucket(f"{kind}://nowhere/run")
    for call in (lambda: bucket.prepare(()), lambda: bucket.publish("a", DATA), lambda: bucket.names("a")):
        with pytest.raises(StorageError, match="there is no such bucket; create it"):
            call()


@pytest.mark.wait
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no.such.host.invalid"])
def test_a_service_that_is_not_there_is_named(service, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StorageError, match=r"cannot be reached; check the network and AWS_ENDPOINT_URL") as caught:
        Bucket("s3://runs/x").prepare(())
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [["AWS_ACCESS_KEY_ID"], ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]])
def test_missing_credentials_are_asked_for(service, monkeypatch, names):
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        StorageError, match=r"Could not \w+ s3://runs/x.*no credentials were found; set AWS_ACCESS_KEY_ID"
    ):
        Bucket("s3://runs/x").prepare(())


def test_credentials_that_cannot_be_used_are_named(service, monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(StorageError, match=r"Could not \w+ gs://runs/x.*cannot be used; check GOOGLE_APPLICATION_CRED"):
        Bucket("gs://runs/x").prepare(())


def test_an_endpoint_must_be_a_url(service, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(
        SpecError, match="`AWS_ENDPOINT_URL` must be a URL like https://host, but it is `localhost:9000`"
    ):
        Bucket("s3://runs/x")


@pytest.mark.parametrize("url", ["ftp://host/run", "s3://", "memory://", "s3:///run", "hdfs://a/b"])
def test_other_places_are_refused(url):
    with pytest.raises(SpecError, match=r"must lie in a folder, or at s3://bucket/name, gs://.*memory://.*was given"):
        locate.at(url)


def test_without_obstore_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "jepa_sweep.store.bucket")
    with pytest.raises(SpecError, match=r"need obstore.*pip install 'jepa_sweep\[cloud\]'"):
        locate.at("s3://runs/x")


def test_an_object_that_is_too_large_is_not_read(bucket):
    bucket.publish("points/000001.parquet", b"x" * 1000)
    assert bucket.digest("points/000001.parquet", 1000) == sha256(b"x" * 1000)
    for ask in (bucket.read, bucket.digest):
        with pytest.raises(TooLarge, match=r"must have at most 999 bytes, but it has 1,000; run `jepa-sweep repair`"):
            ask("points/000001.parquet", 999)
        with pytest.raises(Missing):
            ask("points/000002.parquet", 999)
