"""Specs that are made to take long: each is a message at once, and what is merely large is read."""

import time

import pytest
from promise import assert_clear

import jepa_sweep as js
from jepa_sweep.spec import text as texts

MANY = 100_000
SPEC = 'name = "x"\n[axes]\nlam = 1.0\nrho = 0.5\nL = 1\neps = 1e-3\n'
LISTED = 'name = "x"\ncombine = "points"\npoints = ['


def each(pattern, count=MANY, join=""):
    return join.join(pattern.format(i=i) for i in range(count))


COSTLY = {  # -> the text, and what is said of it
    "a key of very many parts": ("a." * MANY + "b = 1", "Keys must have at most 20 parts (at line 1)"),
    "one of quoted parts": (SPEC + '"a=]" . ' * MANY + "b = 1", "Keys must have at most 20 parts (at line 7)"),
    "one of a table": (f"[{'a.' * MANY}b]", "Keys must have at most 20 parts"),
    "one inside a table": (f"a = {{ {'a.' * MANY}b = 1 }}", "Keys must have at most 20 parts"),
    "one after texts that look like it": (f"a = '''{'b.' * 200}''' # {'c.' * 200}\n{'d.' * 21}e=1", "(at line 2)"),
    "one after texts that end in quotes": ('a = """b""""\nc = \'\'\'d\'\'\'\'\'\n' + "e." * 200 + "f=1", "(at line 3)"),
    "keys of many parts": (each("a." * 19 + "b{i} = 1\n", 1000), "`a` is not a key here"),
    "many keys of many parts": (each("k{i}" + ".a" * 19 + "=1\n"), "more than four parts must be at most 1,000"),
    "very many keys of five parts": (each("k{i} . a.a.a.a=1\n"), "must be at most 1,000 (at line 1001)"),
    "a key of very many characters": ("a." + "k" * MANY + "=1\n" + "a." * MANY + "b=1", "at most 10,000 characters"),
    "numbers that follow each other": ("a = [" + ("1+" * 4990 + ",") * 500 + "]", "Unclosed array"),
    "lists in lists": (f"a = {'[' * MANY}{']' * MANY}", "too deep in each other"),
    "tables in tables": (f"a = {'{a=' * MANY}1{'}' * MANY}", "too deep in each other"),
    "many lists in lists": (each(f"a{{i}} = {'[' * 400}{']' * 400}\n", 500), "`a0` is not a key here"),
    "very many keys": (each("k{i} = 1\n", 30_000), "1,000 or more things must be put right"),
    "very many parameters": (SPEC + each("k{i} = 1\n", 30_000), "1,000 or more things must be put right"),
    "very many tables": (each("[k{i}]\n", 30_000), "1,000 or more things must be put right"),
    "very many blocks": ('name = "x"\n' + "[[block]]\n" * MANY, "`block` must have at most 1,000 entries"),
    "blocks of unknown keys": ('name = "x"\n' + ("[[block]]\n" + each("k{i}=1\n", 50)) * 1000, "1,000 or more things"),
    "points of unknown parameters": (f"{LISTED}{each('{{k{i}=1}}', 30_000, ',')}]", "1,000 or more things"),
    "unknown objectives": (f'name="x"\nobjective=[{each(chr(34) + "o{i}" + chr(34), 30_000, ",")}]', "1,000 or more"),
    "a number of ten million digits": (SPEC.replace("1.0", "0x" + "f" * 10**7), "at most 10,000 characters (at line 3"),
    "a float of ten million digits": (SPEC.replace("1.0", "0." + "1" * 10**7), "at most 10,000 characters (at line 3"),
    "ranges beyond any memory": (
        'name = "x"\n' + each("[[block]]\naxes = {{ lam = {{ linear = [1, {i}], num = 1000000 }} }}\n", 1000),
        "at most 10,000,000 values together, but they have 1,000,000,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
def test_a_spec_that_would_take_long_is_a_message_at_once(name):
    text, says = COSTLY[name]
    began = time.process_time()
    with pytest.raises(js.SpecError) as refused:
        js.Sweep.parse(text, "sweeps/any.toml")
    assert time.process_time() - began < 5  # of a processor that others slow down: it is a second at most
    assert_clear(str(refused.value))
    assert says in str(refused.value)


def test_a_change_is_held_to_the_same(invoke, tmp_path):
    (tmp_path / "x.toml").write_text(SPEC)
    for change in ("a." * MANY + "b=1", f"solver={{ {'a.' * MANY}b = 1 }}"):
        done = invoke("plan", tmp_path / "x.toml", "--set", change)
        assert done.exit_code == 2
        assert "must be given" in done.stderr


def test_keys_of_twenty_parts_are_read():
    parts = ["a", '"b.c"', "'d'"] * 6 + ["e", "f"]
    assert len(parts) == texts.MOST_PARTS
    found = texts.toml_of(f"{' . '.join(parts)} = 1.5 # {'x.' * 200}")
    for part in parts:
        found = found[part.strip("\"'")]
    assert found == 1.5


@pytest.mark.parametrize("count", [200_000])
def test_a_spec_of_megabytes_is_read(count):
    """Points written out are many; ten megabytes of them take seconds."""
    rows = each("{{ lam = 1.{i}, rho = 0.5, L = 1, eps = 1e-3 }}", count, ",\n")
    began = time.process_time()
    [block] = js.Sweep.parse(f"{LISTED}{rows}]").blocks
    assert block.size == count
    assert time.process_time() - began < 30
