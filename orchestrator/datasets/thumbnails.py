"""Small pictures of a run's samples: of the very files that were measured, or none.

A run may come from somebody else, and what it says of folders and files is no more than a claim. So
a picture is made only where the samples' files, all of them, are byte for byte those that the run's
digest tells of: whoever does not have the pictures cannot ask for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from orchestrator import plain_files
from orchestrator.datasets.dataset import Item, digest_of, drawn_line
from orchestrator.datasets.images import check_pillow, thumbnail_of
from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.samples import SampleSet

#: Bytes of samples that are read to see whether they are the run's: some seconds.
_MOST_READ = 2 * 2**30
_LARGEST_IMAGE = 64 * 2**20
_CHUNK_BYTES = 2**20


def make_thumbnails(
    samples: SampleSet, keys: Iterable[str], *, side: int, most_bytes: int
) -> tuple[dict[str, bytes], str]:
    """Return JPEG images of the samples of these keys, ``side`` pixels at most and ``most_bytes``
    each, and why some are missing, in words; empty where none is.

    Below the data set's folder no link is followed. Raises nothing for what a folder may hold.
    """
    folder = _folder_of(samples)
    if folder is None:
        return {}, f"the data set {samples.source} is not a folder of images on this machine"
    try:
        check_pillow()
        _check_digest(samples, folder)
    except UsageError as exc:
        return {}, str(exc)
    made: dict[str, bytes] = {}
    reasons = []
    for key in keys:
        try:
            content = plain_files.read(folder, key, most_bytes=_LARGEST_IMAGE)
            picture = thumbnail_of(content, folder / key, side)
        except (OSError, UsageError) as exc:
            reasons.append(str(exc))
            continue
        if len(picture) <= most_bytes:
            made[key] = picture
    return made, reasons[0] if reasons else ""


def _folder_of(samples: SampleSet) -> Path | None:
    if not any(feed.height for feed in samples.feeds):
        return None
    try:
        folder = Path(samples.source).expanduser()
        return folder if folder.is_absolute() and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that no file can have, an unknown user
        return None


def _check_digest(samples: SampleSet, folder: Path) -> None:
    """Raise UsageError where the files are not those that were drawn."""
    left = _MOST_READ
    lines = []
    for key, label in zip(samples.keys, samples.labels, strict=True):
        digest = hashlib.sha256()
        try:
            with plain_files.opened(folder, key, most_bytes=_LARGEST_IMAGE) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    left -= len(chunk)
        # a ValueError is that of a name that no file can have
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise UsageError(
                f"a sample of the data set {samples.source} cannot be read ({why})"
            ) from exc
        if left < 0:
            raise UsageError(
                f"the samples of the data set {samples.source} have more than "
                f"{_MOST_READ >> 30} GiB, which are not read for this"
            )
        lines.append(drawn_line(Item(key, label, sha256=digest.hexdigest())))
    if digest_of(lines) != samples.digest:
        raise UsageError(f"the data set {samples.source} has changed since the run")
