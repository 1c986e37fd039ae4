"""Whom the server sends requests to that somebody else has named: every address of the name, and nothing private."""

from collections.abc import Sequence

import pytest

from pairing_ws.adapters.targets import ForbiddenTarget, Targets, system_addresses

PUBLIC = ["8.8.8.8", "2606:4700:4700::1111"]
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.1.2.3", "198.18.0.1",
    "192.0.2.1", "240.0.0.1", "255.255.255.255", "::1", "fc00::1", "fd12::1", "2001:db8::1",
    # Addresses in other clothes.
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "2002:7f00:1::1", "64:ff9b::127.0.0.1", "::127.0.0.1",
]  # fmt: skip
NOWHERE = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fd00:ec2::254",
    "100.100.100.200", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
]  # fmt: skip


class Names:
    """A server of names whose next answers are known; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def targets(*answers: Sequence[str], allow_private: bool = False) -> Targets:
    return Targets(allow_private=allow_private, resolve=Names(*answers))


@pytest.mark.security(41)
@pytest.mark.parametrize("address", PRIVATE + NOWHERE)
async def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(ForbiddenTarget):
        await targets([address]).checked("https://app.example/logout")


@pytest.mark.security(41)
@pytest.mark.parametrize("address", PRIVATE + NOWHERE)
async def test_one_private_address_beside_public_ones_is_enough_to_refuse_a_name(address: str) -> None:
    for found in ([*PUBLIC, address], [address, *PUBLIC]):
        with pytest.raises(ForbiddenTarget):
            await targets(found).checked("https://app.example/logout")


@pytest.mark.security(41)
@pytest.mark.parametrize("address", NOWHERE)
async def test_no_setting_allows_the_addresses_of_metadata_and_of_the_link(address: str) -> None:
    for scheme in ("https", "http"):
        with pytest.raises(ForbiddenTarget):
            await targets([address], allow_private=True).checked(f"{scheme}://app.example/logout")


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_a_target_by_https_alone(address: str) -> None:
    for allow_private in (False, True):
        [found] = await targets([address], allow_private=allow_private).checked("https://app.example/logout?a=b")
        assert found == ("https", "app.example", 443, address, "/logout?a=b")
        with pytest.raises(ForbiddenTarget):
            await targets([address], allow_private=allow_private).checked("http://app.example/logout")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fd12::1", "::ffff:127.0.0.1"])
async def test_private_addresses_are_targets_where_the_setting_allows_them(address: str) -> None:
    for scheme in ("https", "http"):
        [found] = await targets([address], allow_private=True).checked(f"{scheme}://intranet:8443")
        assert found == (scheme, "intranet", 8443, address, "/")


@pytest.mark.security(41)
@pytest.mark.parametrize(
    "url",
    [
        "", "app.example", "ftp://app.example/", "file:///etc/passwd", "gopher://app.example/", "unix:///run/x",
        "https:///logout", "https://", "https://user@app.example/", "https://user:secret@app.example/",
        "https://app.example/#part", "https://app.example:99999/", "https://app.example:x/", "https://[::1/",
        "https://app.example/a b", "https://app.example/\r\nX: y", "https://äpp.example/", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_what_is_no_https_address_is_refused_before_its_name_is_asked_for(url: str) -> None:
    names = Names(PUBLIC)
    with pytest.raises(ForbiddenTarget):
        await Targets(allow_private=True, resolve=names).checked(url)
    assert not names.asked


@pytest.mark.security(41)
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "localhost", "[::ffff:7f00:1]"]
)
async def test_no_spelling_of_this_machine_passes(host: str) -> None:
    with pytest.raises((ForbiddenTarget, OSError)):
        await Targets(allow_private=False).checked(f"https://{host}/logout")


async def test_a_name_that_leads_nowhere_is_an_error_and_no_target() -> None:
    with pytest.raises(OSError, match="no address"):
        await targets([]).checked("https://app.example/")
    for name in ("nowhere.invalid", "a" * 300, "a..b"):
        with pytest.raises(OSError):  # noqa: PT011 - the system's own words
            await system_addresses(name, 443)


async def test_a_name_is_asked_for_once_and_what_was_checked_is_what_is_given() -> None:
    names = Names(PUBLIC, ["127.0.0.1"])
    found = await Targets(allow_private=False, resolve=names).checked("https://app.example/")
    assert [each.address for each in found] == PUBLIC
    assert names.asked == [("app.example", 443)]
