"""The one fake clock of the tests. It goes into constructors and `create_app`; nothing is patched."""


class FakeClock:
    """Milliseconds that move only when told to. It starts on 2026-01-01, 00:00 UTC."""

    def __init__(self, now: int = 1_767_225_600_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, *, seconds: float = 0, ms: int = 0) -> None:
        self.now += round(seconds * 1000) + ms
