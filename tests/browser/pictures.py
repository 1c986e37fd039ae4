"""Pictures of this product's own code as people take, save and send them: 26 kinds, 15 of each, all from one seed."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import qrcode
import zxingcpp
from PIL import Image, ImageDraw, ImageFilter
from playwright.async_api import Page

from pairing_ws.web import qr

PER_KIND = 15
ADDRESS = "https://login.example.com/"
_ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))

Random = np.random.Generator
Kind = Callable[[Image.Image, Random], Image.Image]


def link(random: Random) -> str:
    return f"{ADDRESS}pair/{''.join(random.choice(_ALPHABET, 22))}#{''.join(random.choice(_ALPHABET, 22))}"


def code(text: str) -> Image.Image:
    """As the server draws it, 8 pixels per module, with its border."""
    png = base64.b64decode(qr.draw(text, "png").partition(",")[2])
    return Image.open(io.BytesIO(png)).convert("L")


def every(
    kinds: Iterable[str], numbers: Iterable[int] = range(PER_KIND)
) -> Iterator[tuple[str, int, str, Image.Image]]:
    """Kind, number, the text that it holds, the picture."""
    for kind in kinds:
        for number in numbers:
            random = np.random.default_rng([20, list(KINDS).index(kind), number])
            text = link(random)
            yield kind, number, text, KINDS[kind](code(text), random)


async def page_reads(page: Page, text: str, image: Image.Image) -> bool:
    """Whether a page of ours finds it, as if the picture were uploaded there."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    found = await page.evaluate(
        """async ([picture, sought]) => {
            const { readPicture } = await import('/static/scanner.js');
            const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
            return readPicture(new Blob([bytes], { type: 'image/png' }), sought);
        }""",
        [base64.b64encode(file.getvalue()).decode(), f"{ADDRESS}pair/"],
    )
    return text in found


def zxing_reads(text: str, image: Image.Image) -> bool:
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return text in [each.text for each in found]


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float32)


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def _sized(image: Image.Image, side: float) -> Image.Image:
    return image.resize((round(side), round(side)), Image.Resampling.BICUBIC)


def _on(ground: Image.Image, image: Image.Image, random: Random) -> Image.Image:
    at = (int(random.integers(0, ground.width - image.width)), int(random.integers(0, ground.height - image.height)))
    ground.paste(image, at)
    return ground


def _desk(width: int, height: int, random: Random) -> Image.Image:
    """Something that is no code: soft shapes, hard edges and lines of text."""
    rough = Image.fromarray(random.integers(60, 200, (9, 12), dtype=np.uint8))
    ground = rough.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(ground)
    for _ in range(40):
        x, y = int(random.integers(width)), int(random.integers(height))
        w, h = int(random.integers(4, width // 5)), int(random.integers(2, height // 12))
        draw.rectangle((x, y, x + w, y + h), fill=int(random.integers(20, 240)))
    return ground


def _screen(width: int, height: int, random: Random) -> Image.Image:
    """A screenshot: a light page with much small text."""
    paper = int(random.choice([255, 250, 24]))
    page = Image.new("L", (width, height), paper)
    draw = ImageDraw.Draw(page)
    ink = 40 if paper > 128 else 210
    for y in range(30, height - 20, 26):
        for _ in range(width // 160):
            x = int(random.integers(width))
            draw.text((x, y), "".join(random.choice(_ALPHABET, int(random.integers(2, 9)))), fill=ink)
    return page


def _tilted(image: Image.Image, random: Random, strength: float, ground: int = 170) -> Image.Image:
    """Perspective, by four corners that wander inwards."""
    side = image.width
    wide = Image.new("L", (side + side // 2, side + side // 2), ground)
    wide.paste(image, (side // 4, side // 4))
    size = wide.width
    corners = np.array([(0, 0), (size, 0), (size, size), (0, size)], dtype=float)
    moved = corners + random.uniform(-strength, strength, (4, 2)) * size
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    factors = np.linalg.solve(np.array(rows), moved.reshape(8))
    return wide.transform(
        wide.size, Image.Transform.PERSPECTIVE, tuple(factors), Image.Resampling.BICUBIC, fillcolor=ground
    )


def _noisy(image: Image.Image, random: Random, sigma: float) -> Image.Image:
    return _image(_array(image) + random.normal(0, sigma, (image.height, image.width)))


def _light(image: Image.Image, random: Random, low: float) -> Image.Image:
    """A lamp on one side."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : image.height, 0 : image.width]
    along = (x / image.width - 0.5) * np.cos(angle) + (y / image.height - 0.5) * np.sin(angle)
    return _image(_array(image) * np.clip(0.5 + low / 2 + along * (1 - low) * 1.4, low, 1.1))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("L")


def _of(low: float, high: float, random: Random) -> float:
    return float(random.uniform(low, high))


def _clean(image: Image.Image, random: Random) -> Image.Image:
    return _sized(image, _of(120, 1600, random))


def _noise(image: Image.Image, random: Random) -> Image.Image:
    return _noisy(_sized(image, _of(220, 420, random)), random, _of(15, 65, random))


def _speckles(image: Image.Image, random: Random) -> Image.Image:
    small = _sized(image, _of(220, 420, random))
    flips = random.random((small.height, small.width)) < _of(0.005, 0.06, random)
    return _image(np.where(flips, random.choice([0, 255], flips.shape), _array(small)))


def _blur(image: Image.Image, random: Random) -> Image.Image:
    side = _of(250, 500, random)
    return _sized(image, side).filter(ImageFilter.GaussianBlur(_of(0.25, 0.62, random) * side / 45))


def _motion(image: Image.Image, random: Random) -> Image.Image:
    side = _of(250, 450, random)
    array = _array(_sized(image, side))
    length = max(2, round(_of(0.4, 2.0, random) * side / 45))
    across, down = [(1, 0), (0, 1), (1, 1)][int(random.integers(3))]
    return _image(np.mean([np.roll(array, (i * down, i * across), (0, 1)) for i in range(length)], axis=0))


def _perspective(image: Image.Image, random: Random) -> Image.Image:
    return _tilted(_sized(image, _of(300, 600, random)), random, _of(0.05, 0.2, random))


def _rotated(image: Image.Image, random: Random) -> Image.Image:
    ground = int(random.integers(90, 256))
    small = _sized(image, _of(160, 400, random))
    return small.rotate(_of(0, 360, random), Image.Resampling.BICUBIC, expand=True, fillcolor=ground)


def _small(image: Image.Image, random: Random) -> Image.Image:
    return _on(_screen(1920, 1080, random), _sized(image, _of(90, 160, random)), random)


def _tiny_in_huge(image: Image.Image, random: Random) -> Image.Image:
    width, height = [(3840, 2160), (7680, 4320)][int(random.random() < 0.34)]
    return _on(_screen(width, height, random), _sized(image, _of(100, 220, random)), random)


def _several(image: Image.Image, random: Random) -> Image.Image:
    """Ours among posters of others, in rows or anywhere."""
    across, down = [(2, 1), (3, 1), (2, 2), (3, 2), (3, 3)][int(random.integers(5))]
    side = int(_of(170, 330, random))
    sheet = Image.new("L", (across * (side + 30) + 30, down * (side + 30) + 30), int(random.integers(170, 256)))
    ours = int(random.integers(across * down))
    for place in range(across * down):
        other = qrcode.make(
            ["WIFI:S:Home;T:WPA;P:secret;;", "https://example.com/menu", ADDRESS][place % 3] + "x" * place
        )
        shown = image if place == ours else other.get_image().convert("L")
        sheet.paste(_sized(shown, side), (30 + place % across * (side + 30), 30 + place // across * (side + 30)))
    return sheet


def _mirrored(image: Image.Image, random: Random) -> Image.Image:
    flipped = _rotated(image, random) if random.random() < 0.5 else _perspective(image, random)
    return flipped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _inverted(image: Image.Image, random: Random) -> Image.Image:
    return _image(255 - _array(_rotated(image, random)))


def _pale(image: Image.Image, random: Random) -> Image.Image:
    """Light grey on white."""
    array = _array(_sized(image, _of(200, 500, random)))
    return _noisy(_image(255 - (255 - array) / 255 * _of(6, 40, random)), random, _of(0, 1.5, random))


def _dim(image: Image.Image, random: Random) -> Image.Image:
    array = _array(_sized(image, _of(200, 500, random)))
    return _noisy(_image(array / 255 * _of(10, 40, random) + 6), random, _of(0.5, 3, random))


def _lossy(image: Image.Image, random: Random) -> Image.Image:
    return _jpeg(_sized(image, _of(110, 260, random)), int(random.integers(3, 14)))


def _lit(image: Image.Image, random: Random) -> Image.Image:
    return _light(_perspective(image, random), random, _of(0.02, 0.25, random))


def _glare(image: Image.Image, random: Random) -> Image.Image:
    small = _sized(image, _of(300, 500, random))
    y, x = np.mgrid[0 : small.height, 0 : small.width] / small.width
    spot = np.exp(-((x - _of(0.25, 0.75, random)) ** 2 + (y - _of(0.25, 0.75, random)) ** 2) / _of(0.004, 0.03, random))
    return _image(_array(small) * 0.7 + 330 * spot)


def _covered(image: Image.Image, random: Random) -> Image.Image:
    small = _sized(image, 400)
    draw = ImageDraw.Draw(small)
    size = int(_of(40, 105, random))
    x, y = (int(each) for each in random.integers(130, 330 - size // 2, 2))
    draw.rectangle((x, y, x + size, y + size), fill=int(random.choice([0, 128, 255])))
    return small


def _bare(image: Image.Image, random: Random) -> Image.Image:
    """Hardly a border, on something dark."""
    side = image.width
    edge = round(side * 4 / 45 * _of(0.75, 1.1, random))
    cut = _sized(image.crop((edge, edge, side - edge, side - edge)), _of(150, 350, random))
    ground = Image.new("L", (cut.width + 120, cut.height + 120), int(random.integers(0, 110)))
    return _on(ground, cut, random)


def _striped(image: Image.Image, random: Random) -> Image.Image:
    """A photo of a screen: its pixel grid beats with the camera's."""
    small = _tilted(_sized(image, _of(350, 600, random)), random, 0.05)
    y, x = np.mgrid[0 : small.height, 0 : small.width]
    wave = np.sin(x * _of(0.3, 2.5, random) + y * 0.2) * np.sin(y * _of(0.3, 2.5, random))
    return _noisy(_image(_array(small) * 0.8 + 25 + _of(25, 80, random) * wave), random, 8)


def _hasty(image: Image.Image, random: Random) -> Image.Image:
    """By hand, in the evening: tilted, unsharp and noisy at once."""
    tilted = _tilted(_sized(image, _of(260, 420, random)), random, 0.09)
    return _noisy(
        _light(tilted.filter(ImageFilter.GaussianBlur(_of(0.6, 1.9, random))), random, 0.35), random, _of(4, 22, random)
    )


def _coloured(image: Image.Image, random: Random) -> Image.Image:
    """Two colours with little between their brightnesses."""
    ink, paper = [
        ((200, 30, 30), (120, 190, 120)), ((0, 90, 200), (255, 140, 60)), ((230, 60, 60), (140, 200, 255)),
        ((120, 60, 160), (200, 190, 90)), ((20, 120, 60), (240, 200, 230)),
    ][int(random.integers(5))]  # fmt: skip
    part = (_array(_sized(image, _of(200, 400, random))) / 255)[..., None]
    return Image.fromarray((np.array(ink) * (1 - part) + np.array(paper) * part).astype(np.uint8))


def _curved(image: Image.Image, random: Random) -> Image.Image:
    """On a bottle."""
    array = _array(_sized(image, 420))
    bend = _of(0.5, 1.25, random)
    x = np.linspace(-1, 1, 420)
    from_x = np.clip(np.round((np.arcsin(x * np.sin(bend)) / bend + 1) / 2 * 419), 0, 419).astype(int)
    bulge = (np.sqrt(np.clip(1 - (x * np.sin(bend)) ** 2, 0, 1)) * 14).astype(int)
    return _image(np.stack([np.roll(array[:, from_x[i]], bulge[i]) for i in range(420)], axis=1))


def _coarse(image: Image.Image, random: Random) -> Image.Image:
    """Less than three pixels for a module."""
    return image.resize([round(45 * _of(1.3, 2.6, random))] * 2, Image.Resampling.BOX)


def _lying(image: Image.Image, random: Random) -> Image.Image:
    """Turned, small, on a desk full of things."""
    turned = _sized(image, _of(150, 300, random)).convert("LA")
    turned = turned.rotate(_of(0, 360, random), Image.Resampling.BICUBIC, expand=True)
    ground = _desk(1600, 1200, random)
    at = (int(random.integers(0, 1600 - turned.width)), int(random.integers(0, 1200 - turned.height)))
    ground.paste(turned.getchannel(0), at, turned.getchannel(1))
    return _noisy(ground.filter(ImageFilter.GaussianBlur(0.7)), random, 6)


def _photo(image: Image.Image, random: Random) -> Image.Image:
    """Twelve megapixels, of which the code has few."""
    tilted = _tilted(_sized(image, _of(260, 600, random)), random, 0.08)
    ground = _on(_desk(4000, 3000, random), tilted, random).filter(ImageFilter.GaussianBlur(1.2))
    return _jpeg(_noisy(_light(ground, random, 0.4), random, 10), int(random.integers(35, 80)))


KINDS: dict[str, Kind] = {
    "clean": _clean, "noise": _noise, "speckles": _speckles, "blur": _blur, "motion": _motion,
    "perspective": _perspective, "rotated": _rotated, "small": _small, "tiny in huge": _tiny_in_huge,
    "several": _several, "mirrored": _mirrored, "inverted": _inverted, "pale": _pale, "dim": _dim, "lossy": _lossy,
    "lit": _lit, "glare": _glare, "covered": _covered, "bare": _bare, "striped": _striped, "hasty": _hasty,
    "coloured": _coloured, "curved": _curved, "coarse": _coarse, "lying": _lying, "photo": _photo,
}  # fmt: skip
