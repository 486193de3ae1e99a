"""Checks of single values that a user gives, and how messages show values; every failure is a `SpecError`."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jepa_sweep.errors import SpecError, on_one_line


def plain(text: object, most: int = 60) -> str:
    """A text as messages may hold it: on one line, nothing that would steer a terminal, too long a middle left out."""
    text = str(text)
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 3 :]}"
    return on_one_line(text)


def shown(value: object) -> str:
    """A value somebody gave as messages may repeat it, however large it is."""
    if isinstance(value, str):
        return f"'{plain(value)}'"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length():,} bits"  # Python refuses to write it in decimals
    if isinstance(value, list | tuple | dict):
        return "a table" if isinstance(value, dict) else "a list"
    return plain(value)


def size_of(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    power = min((len(f"{count:.0f}") - 1) // 3, 4)
    return f"{count / 1000**power:.{min(power, 1)}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def said(error: BaseException) -> str:
    """What somebody else's code raised, as messages may hold it."""
    return plain(f"{type(error).__name__}: {error}", 300).rstrip(".")


def closest(given: object, known: Iterable[str]) -> str:
    """The known word that is most like the given one, capital letters or not; empty where none is."""
    by_letters: dict[str, str] = {}
    for word in known:
        by_letters.setdefault(word.lower(), word)
    given = given[:60].lower() if isinstance(given, str) else ""
    close = difflib.get_close_matches(given, by_letters, n=1, cutoff=0.5)
    return by_letters[close[0]] if close else ""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """` Did you mean ...?` where something close is known, else the list of what is."""
    known = list(known)
    close = closest(given, known)
    return f" Did you mean `{close}`?" if close else f" Known are: {', '.join(known)}."


@contextlib.contextmanager
def extra(what_needs_it: str, name: str) -> Iterator[None]:
    """Raise a `SpecError` where an import fails because the extra of this name was not installed."""
    try:
        yield
    except ImportError as error:
        raise SpecError(f"{what_needs_it}, but it is not installed; try `pip install 'jepa_sweep[{name}]'`.") from error


def check_one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Raise unless `value` is one of the `known` words."""
    if not isinstance(value, str) or value not in known:
        close = closest(value, known)
        hint = f" Did you mean `{close}`?" if close else ""
        raise SpecError(f"`{name}` must be one of {', '.join(known)}, but it is {shown(value)}.{hint}")


def check_path(path: object) -> None:
    """Raise unless this can be the path of a file or folder."""
    if not isinstance(path, str | os.PathLike):
        raise SpecError(f"A path must be text or a `Path`, but it is {shown(path)}.")
    text = os.fspath(path)
    if not text.strip():
        raise SpecError(f"A path must name a file or folder, but it is {'blank' if text else 'empty'}.")
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise SpecError(
            f"A path must have characters that names of files may have, but it is {shown(text)}; leave out the others."
        )


def is_unicode(path: str | os.PathLike[str]) -> bool:
    """True of a path in Unicode, which names of files need not be and libraries of other languages ask for."""
    text = os.fspath(path)
    return text.encode(errors="replace").decode() == text


def check_tolerance(rtol: float, precision: str) -> None:
    """Raise unless a solver can keep this relative tolerance."""
    if isinstance(rtol, bool) or not isinstance(rtol, int | float):
        raise SpecError(f"`rtol` must be a number, but it is {shown(rtol)}.")
    floor = 10 * float(np.finfo(precision).eps)
    if not floor <= rtol <= 0.1:
        raise SpecError(
            f"`rtol` must lie between {floor:.0e} (ten roundings of {precision}) and 0.1, but it is "
            f"{shown(rtol)}; try 1e-8 in float64, 1e-5 in float32."
        )


def check_max_steps(most: int) -> None:
    """Raise unless this can be a limit on the number of steps."""
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most < 2**31:
        raise SpecError(f"`max_steps` must be a whole number from 1 to {2**31 - 1}, but it is {shown(most)}.")


def has_masked(value: object, deep: int = 64) -> bool:
    """True of a masked array with a value under its mask, which any other array would show; of lists as `deep`, too."""
    if isinstance(value, list | tuple):
        inner = (one for one in value if isinstance(one, list | tuple | np.ma.MaskedArray))
        return deep > 0 and any(has_masked(one, deep - 1) for one in inner)
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def real_numbers(name: str, value: object) -> np.ndarray:
    """The value as an array of real numbers; a mask is refused where it hides any."""
    if has_masked(value):
        raise SpecError(
            f"`{name}` must be real numbers, but some are masked; try `.compressed()`, or leave out the rows they are "
            "in."
        )
    try:
        array = np.asarray(value)
    except ValueError:
        raise SpecError(f"`{name}` must be numbers in rows of one length, but they are ragged.") from None
    if array.dtype.kind not in "fiu" and array.size:
        raise SpecError(f"`{name}` must be real numbers, but its type is {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # more digits than are computed with
        with np.errstate(over="ignore"):  # beyond float64 is infinite, and refused as that
            return array.astype(float)
    return array


def check_times(values: np.ndarray, name: str = "t") -> None:
    """Raise unless these are increasing, finite times from 0 on, in one dimension."""
    if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(np.diff(values) <= 0):
        raise SpecError(f"`{name}` must be one list of finite, strictly increasing times from 0 on.")
