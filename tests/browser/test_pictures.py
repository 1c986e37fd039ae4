"""What the page reads of pictures as people take, save and send them. `scripts/pictures` tells of more of them."""

from collections import Counter

import pytest

from .conftest import NewDevice
from .pictures import KINDS, every, page_reads, zxing_reads

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pages_read_as_many_pictures_as_a_reader_of_its_own_does(new_device: NewDevice) -> None:
    """Two of each kind: 52, of which the vendored decoder alone reads 42."""
    page = await (await new_device()).open("/phone")
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    for kind, _, text, image in every(KINDS, (0, 7)):
        ours[kind] += await page_reads(page, text, image)
        theirs[kind] += zxing_reads(text, image)
    assert ours.total() >= theirs.total()
    for kind in ("mirrored", "several", "tiny in huge", "pale", "noise", "speckles"):
        assert ours[kind] == 2, kind
